"""No order of acts promotes what may not be: every way of six steps by three people, and random ones, on PostgreSQL."""

import pytest
from sqlalchemy.orm import Session

from tests.loop import Step, Walked, attempt, begin, signature, steps, walk_at_random
from tests.oracle import illegal_promotions

STEPS = 6


class Explorer:
    """Depth first; a state that was reached before with as many steps left is not entered again."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.left: dict[tuple[object, ...], int] = {}
        self.tried = self.promotions = 0

    def explore(self, left: int, way: tuple[Step, ...] = ()) -> None:
        for step in steps():
            self.tried += 1
            with self.session.begin_nested() as before:
                if attempt(self.session, step):
                    self.arrive(left - 1, (*way, step))
                before.rollback()
            self.session.expire_all()

    def arrive(self, left: int, way: tuple[Step, ...]) -> None:
        here = signature(self.session)
        if here not in self.left:
            found = illegal_promotions(self.session.connection())
            assert found == [], " → ".join(map(str, way))
            self.promotions += here[0] is not None and here[0][0] == "promoted"
        if self.left.get(here, 0) < left:
            self.left[here] = left
            self.explore(left, way)


@pytest.mark.slow
@pytest.mark.parametrize(("tier", "solo"), [(1, False), (2, False), (3, False), (2, True)])
def test_no_way_of_six_steps_leads_to_an_illegal_promotion(session: Session, tier: int, solo: bool):
    begin(session, tier=tier, solo=solo)
    session.commit()
    explorer = Explorer(session)
    explorer.explore(STEPS)
    assert explorer.promotions > 0  # the oracle has seen what it judges


@pytest.mark.slow
@pytest.mark.parametrize("tier", [1, 2])
def test_no_random_walk_leads_to_an_illegal_promotion(session: Session, tier: int):
    begin(session, tier=tier)
    session.commit()
    walk_at_random(session, met := Walked(), walks=100, steps_each=10)
    assert met.promotions > 0
