-- The database itself refuses what the governed loop does not allow, whoever asks, also by SQL.
--
-- A refusal has the SQLSTATE HF001 and a sentence. What can be known only once all rows of a transaction are written
-- (a promotion moves the champion pointer, every step is audited) is checked at COMMIT; a transaction's own entries in
-- the audit are found by audit.txid. What cannot be checked here is who really holds an account: that is signing in.

CREATE SCHEMA guard;

CREATE TABLE guard.transitions (before text NOT NULL, after text NOT NULL, PRIMARY KEY (before, after));
INSERT INTO guard.transitions VALUES
  ('draft', 'proposed'),
  ('draft', 'expired'),
  ('draft', 'cancelled'),
  ('draft', 'superseded'),
  ('proposed', 'awaiting_approval'),
  ('proposed', 'expired'),
  ('proposed', 'cancelled'),
  ('proposed', 'superseded'),
  ('awaiting_approval', 'approved'),
  ('awaiting_approval', 'rejected'),
  ('awaiting_approval', 'expired'),
  ('awaiting_approval', 'cancelled'),
  ('awaiting_approval', 'superseded'),
  ('approved', 'queued'),
  ('approved', 'expired'),
  ('approved', 'cancelled'),
  ('approved', 'superseded'),
  ('queued', 'training'),
  ('queued', 'failed'),
  ('queued', 'expired'),
  ('queued', 'cancelled'),
  ('queued', 'superseded'),
  ('training', 'trained'),
  ('training', 'failed'),
  ('training', 'cancelled'),
  ('training', 'superseded'),
  ('trained', 'validating'),
  ('trained', 'failed'),
  ('trained', 'cancelled'),
  ('trained', 'superseded'),
  ('validating', 'awaiting_promotion'),
  ('validating', 'failed'),
  ('validating', 'cancelled'),
  ('validating', 'superseded'),
  ('awaiting_promotion', 'promoted'),
  ('awaiting_promotion', 'rejected'),
  ('awaiting_promotion', 'failed'),
  ('awaiting_promotion', 'expired'),
  ('awaiting_promotion', 'cancelled'),
  ('awaiting_promotion', 'superseded'),
  ('promoted', 'observing'),
  ('promoted', 'rolled_back'),
  ('observing', 'confirmed'),
  ('observing', 'rolled_back');

-- The versions that were champion: written by the guard of the champion pointer alone.
CREATE TABLE guard.served (version_id bigint PRIMARY KEY);
INSERT INTO guard.served SELECT id FROM public.versions WHERE promoted_at IS NOT NULL;

CREATE INDEX ix_audit_txid ON public.audit (txid);
CREATE INDEX ix_proposals_candidate_id ON public.proposals (candidate_id);
CREATE INDEX ix_proposals_model_id_id ON public.proposals (model_id, id);

CREATE FUNCTION guard.refuse(sentence text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '%', sentence USING ERRCODE = 'HF001';
END $$;

CREATE FUNCTION guard.never() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM guard.refuse(format('rows of %s are kept as they are: %s is refused', TG_TABLE_NAME, lower(TG_OP)));
  RETURN NULL;
END $$;

-- Whether this transaction has written that entry of the audit.
CREATE FUNCTION guard.recorded(wanted_subject text, wanted_action text) RETURNS boolean LANGUAGE sql STABLE AS $$
  SELECT EXISTS (
    SELECT FROM public.audit
    WHERE txid = txid_current() AND subject = wanted_subject AND action = wanted_action
  )
$$;

-- Whether an enabled account of that name has one of these roles.
CREATE FUNCTION guard.holds(account text, VARIADIC wanted text[]) RETURNS boolean LANGUAGE sql STABLE AS $$
  SELECT EXISTS (SELECT FROM public.users WHERE name = account AND NOT disabled AND roles ?| wanted)
$$;

-- How many different people a tier asks for; a declared team of one is enough by itself.
CREATE FUNCTION guard.quorum(tier bigint, solo boolean) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE WHEN tier >= 2 AND NOT solo THEN 2 ELSE 1 END
$$;

CREATE FUNCTION guard.inside_envelope(proposal public.proposals, tier bigint) RETURNS boolean LANGUAGE sql STABLE AS $$
  SELECT tier = 0 AND EXISTS (
    SELECT FROM public.envelopes e
    WHERE e.id = proposal.envelope_id AND e.model_id = proposal.model_id AND e.revoked_at IS NULL
      AND e.expires_at > now()
  )
$$;

-- The gates but the one of the shadow, which may end while people decide.
CREATE FUNCTION guard.gates_at_vote(gates jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
  SELECT jsonb_path_query_array(gates, '$[*] ? (!(@.name == "shadow"))')
$$;

CREATE FUNCTION guard.audit_append() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  last text;
BEGIN
  PERFORM pg_advisory_xact_lock(4015102003);
  SELECT hash INTO last FROM public.audit ORDER BY id DESC LIMIT 1;
  IF NEW.previous_hash <> coalesce(last, repeat('0', 64)) OR NEW.hash !~ '^[0-9a-f]{64}$' THEN
    PERFORM guard.refuse('an entry of the audit must follow the newest one');
  END IF;
  NEW.txid := txid_current();
  RETURN NEW;
END $$;

CREATE FUNCTION guard.proposal_insert() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.state <> 'draft' OR NEW.candidate_id IS NOT NULL OR NEW.gates <> '[]'::jsonb THEN
    PERFORM guard.refuse('a proposal begins as a draft without a candidate and without gates');
  END IF;
  IF NEW.requested_by <> 'policy'
     AND NOT guard.holds(NEW.requested_by, 'operator', 'admin', 'approver', 'validator') THEN
    PERFORM guard.refuse(format('%s may not ask for a retraining', NEW.requested_by));
  END IF;
  RETURN NEW;
END $$;

CREATE FUNCTION guard.proposal_update() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  model public.models;
  people bigint;
BEGIN
  IF (NEW.model_id, NEW.champion_id, NEW.requested_by, NEW.evidence, NEW.evidence_sha256, NEW.created_at)
     IS DISTINCT FROM
     (OLD.model_id, OLD.champion_id, OLD.requested_by, OLD.evidence, OLD.evidence_sha256, OLD.created_at) THEN
    PERFORM guard.refuse(format('the evidence of proposal %s was written when it was proposed and stays', OLD.id));
  END IF;
  IF OLD.state IN ('awaiting_promotion', 'promoted', 'observing', 'confirmed', 'rolled_back')
     AND (NEW.candidate_id, guard.gates_at_vote(NEW.gates), NEW.recipe, NEW.snapshot)
     IS DISTINCT FROM (OLD.candidate_id, guard.gates_at_vote(OLD.gates), OLD.recipe, OLD.snapshot)
     OR OLD.gates @> '[{"name": "shadow"}]' AND NEW.gates <> OLD.gates
     OR OLD.state = 'awaiting_promotion' AND NEW.comparison <> OLD.comparison THEN
    PERFORM guard.refuse(
      format('the candidate and the gates of proposal %s are what people decide on and stay', OLD.id));
  END IF;
  IF OLD.state <> 'awaiting_approval' AND NEW.envelope_id IS DISTINCT FROM OLD.envelope_id THEN
    PERFORM guard.refuse(format('proposal %s was not decided inside another envelope', OLD.id));
  END IF;
  IF NEW.state = OLD.state THEN
    IF NEW.expires_at <> OLD.expires_at THEN
      PERFORM guard.refuse(format('proposal %s expires when it was said to', OLD.id));
    END IF;
    RETURN NEW;
  END IF;
  IF NOT EXISTS (SELECT FROM guard.transitions WHERE before = OLD.state AND after = NEW.state) THEN
    PERFORM guard.refuse(format('a proposal that is %s cannot become %s', OLD.state, NEW.state));
  END IF;
  SELECT * INTO model FROM public.models WHERE id = NEW.model_id;
  IF NEW.state = 'approved' AND NOT guard.inside_envelope(NEW, model.tier) AND (
    NEW.expires_at <= now()
    OR NOT EXISTS (SELECT FROM public.votes WHERE proposal_id = NEW.id AND stage = 'training' AND decision = 'approve')
    OR EXISTS (SELECT FROM public.votes WHERE proposal_id = NEW.id AND decision = 'reject')
  ) THEN
    PERFORM guard.refuse(format('proposal %s has no vote that approves its training in time', NEW.id));
  END IF;
  IF NEW.state = 'awaiting_promotion' AND (
    jsonb_array_length(NEW.gates) = 0
    OR jsonb_path_exists(NEW.gates, '$[*] ? (!(@.passed == true))')
    OR NOT EXISTS (
      SELECT FROM public.versions WHERE id = NEW.candidate_id AND model_id = NEW.model_id AND state = 'candidate'
    )
  ) THEN
    PERFORM guard.refuse(format('proposal %s has no candidate that passed all its gates', NEW.id));
  END IF;
  IF NEW.state = 'rejected' AND NOT EXISTS (
    SELECT FROM public.votes WHERE proposal_id = NEW.id AND decision = 'reject'
  ) THEN
    PERFORM guard.refuse(format('proposal %s has no vote that rejects it', NEW.id));
  END IF;
  IF NEW.state = 'promoted' AND jsonb_path_exists(NEW.gates, '$[*] ? (!(@.passed == true))') THEN
    PERFORM guard.refuse(format('proposal %s has a candidate that did not pass a gate', NEW.id));
  END IF;
  IF NEW.state = 'promoted' AND NOT guard.inside_envelope(NEW, model.tier) THEN
    SELECT count(DISTINCT actor) INTO people FROM public.votes WHERE proposal_id = NEW.id AND decision = 'approve';
    IF people < guard.quorum(model.tier, model.solo)
       OR NOT EXISTS (
         SELECT FROM public.votes WHERE proposal_id = NEW.id AND stage = 'promotion' AND decision = 'approve')
       OR EXISTS (SELECT FROM public.votes WHERE proposal_id = NEW.id AND decision = 'reject')
       OR (model.tier >= 3 AND NOT EXISTS (
         SELECT FROM public.votes WHERE proposal_id = NEW.id AND decision = 'approve' AND as_validator)) THEN
      PERFORM guard.refuse(format('proposal %s lacks votes: tier %s asks for more to promote', NEW.id, model.tier));
    END IF;
  END IF;
  RETURN NEW;
END $$;

CREATE FUNCTION guard.proposal_recorded() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NOT guard.recorded('proposal:' || NEW.id, 'proposal.' || NEW.state) THEN
    PERFORM guard.refuse(format('proposal %s cannot become %s without an entry in the audit', NEW.id, NEW.state));
  END IF;
  IF NEW.state = 'promoted' AND NOT EXISTS (
    SELECT FROM public.models WHERE id = NEW.model_id AND champion_id = NEW.candidate_id
  ) THEN
    PERFORM guard.refuse(format('proposal %s is not promoted: its candidate is not the champion', NEW.id));
  END IF;
  RETURN NULL;
END $$;

CREATE FUNCTION guard.vote_insert() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  proposal public.proposals;
  model public.models;
BEGIN
  SELECT * INTO proposal FROM public.proposals WHERE id = NEW.proposal_id FOR NO KEY UPDATE;
  SELECT * INTO model FROM public.models WHERE id = proposal.model_id;
  IF (proposal.state <> CASE NEW.stage WHEN 'training' THEN 'awaiting_approval' ELSE 'awaiting_promotion' END) THEN
    PERFORM guard.refuse(
      format('proposal %s is %s: no vote on its %s is asked for', proposal.id, proposal.state, NEW.stage));
  END IF;
  IF NEW.evidence_sha256 <> proposal.evidence_sha256 THEN
    PERFORM guard.refuse(format('a vote on proposal %s binds to its evidence, this one to another', proposal.id));
  END IF;
  IF proposal.expires_at <= now() THEN
    PERFORM guard.refuse(format('proposal %s has expired', proposal.id));
  END IF;
  IF NOT guard.holds(NEW.actor, 'approver', 'validator')
     OR (NEW.as_validator AND NOT guard.holds(NEW.actor, 'validator')) THEN
    PERFORM guard.refuse(format('%s may not decide: no enabled account of that name has the role', NEW.actor));
  END IF;
  IF NEW.decision = 'reject' THEN
    RETURN NEW;
  END IF;
  IF model.tier < 3 AND NOT guard.holds(NEW.actor, 'approver') THEN
    PERFORM guard.refuse(format('%s is no approver', NEW.actor));
  END IF;
  IF NEW.actor = proposal.requested_by AND NOT (model.solo AND NEW.self_approved) THEN
    PERFORM guard.refuse(format('%s asked for this retraining: someone else must decide', NEW.actor));
  END IF;
  IF model.tier >= 2 AND guard.holds(NEW.actor, 'admin') THEN
    PERFORM guard.refuse(format('%s is an admin: at tier %s an admin does not decide', NEW.actor, model.tier));
  END IF;
  IF model.tier >= 2 AND NOT (model.solo AND NEW.self_approved) AND EXISTS (
    SELECT FROM public.votes WHERE proposal_id = NEW.proposal_id AND actor = NEW.actor AND stage <> NEW.stage
  ) THEN
    PERFORM guard.refuse(format('%s decided on this proposal before: a second person must', NEW.actor));
  END IF;
  IF model.tier >= 3 AND btrim(NEW.reason) = '' THEN
    PERFORM guard.refuse('tier 3 asks for a written reason');
  END IF;
  RETURN NEW;
END $$;

CREATE FUNCTION guard.vote_update() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  proposal public.proposals;
BEGIN
  SELECT * INTO proposal FROM public.proposals WHERE id = OLD.proposal_id FOR NO KEY UPDATE;
  IF NEW.decision <> 'reject' OR proposal.state NOT IN ('awaiting_approval', 'awaiting_promotion')
     OR (NEW.proposal_id, NEW.stage, NEW.actor, NEW.evidence_sha256, NEW.self_approved, NEW.as_validator)
     IS DISTINCT FROM
     (OLD.proposal_id, OLD.stage, OLD.actor, OLD.evidence_sha256, OLD.self_approved, OLD.as_validator) THEN
    PERFORM guard.refuse('a vote stays as it was given; it can only be taken back, by a rejection');
  END IF;
  RETURN NEW;
END $$;

CREATE FUNCTION guard.version_insert() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.state NOT IN ('registered', 'candidate') OR NEW.promoted_at IS NOT NULL OR NEW.replaced_id IS NOT NULL THEN
    PERFORM guard.refuse('a version begins registered or as a candidate');
  END IF;
  RETURN NEW;
END $$;

CREATE FUNCTION guard.version_update() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF (NEW.model_id, NEW.number, NEW.name) IS DISTINCT FROM (OLD.model_id, OLD.number, OLD.name) THEN
    PERFORM guard.refuse(format('version %s keeps its model, number and name', OLD.name));
  END IF;
  IF OLD.flavour <> 'none' AND (NEW.flavour, NEW.manifest, NEW.manifest_sha256)
     IS DISTINCT FROM (OLD.flavour, OLD.manifest, OLD.manifest_sha256) THEN
    PERFORM guard.refuse(format('version %s is immutable: register a new one', OLD.name));
  END IF;
  IF OLD.state = 'retired' AND NEW.state <> 'retired' THEN
    PERFORM guard.refuse(format('version %s is retired and stays so', OLD.name));
  END IF;
  RETURN NEW;
END $$;

-- At COMMIT: who is called champion is the one that the model points at, and got there in this transaction.
CREATE FUNCTION guard.version_serves() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  pointed bigint;
BEGIN
  SELECT champion_id INTO pointed FROM public.models WHERE id = NEW.model_id;
  IF EXISTS (SELECT FROM public.versions WHERE id = NEW.id AND state = 'champion')
     <> (pointed IS NOT DISTINCT FROM NEW.id) THEN
    PERFORM guard.refuse(format('version %s is the champion if its model points at it, and only then', NEW.name));
  END IF;
  IF (NEW.promoted_at, NEW.replaced_id) IS DISTINCT FROM (OLD.promoted_at, OLD.replaced_id) AND NOT EXISTS (
    SELECT FROM public.audit
    WHERE txid = txid_current() AND (
      (subject = 'model:' || NEW.model_id AND action IN ('model.champion_set', 'model.rolled_back'))
      OR (subject = 'version:' || NEW.id AND action = 'version.promoted_again')
      OR (action = 'proposal.promoted' AND subject IN (
        SELECT 'proposal:' || id FROM public.proposals WHERE candidate_id = NEW.id))
    )
  ) THEN
    PERFORM guard.refuse(format('version %s was not promoted in this transaction', NEW.name));
  END IF;
  RETURN NULL;
END $$;

CREATE FUNCTION guard.model_update() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF (NEW.name, NEW.tier, NEW.solo) IS DISTINCT FROM (OLD.name, OLD.tier, OLD.solo) THEN
    PERFORM guard.refuse(format('the name and the tier of %s, and whether its team is of one, stay', OLD.name));
  END IF;
  RETURN NEW;
END $$;

CREATE FUNCTION guard.champion_moved() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
  was bigint := CASE TG_OP WHEN 'UPDATE' THEN OLD.champion_id END;
  version public.versions;
  again jsonb;
BEGIN
  IF NEW.champion_id IS NOT DISTINCT FROM was THEN
    RETURN NULL;
  END IF;
  SELECT * INTO version FROM public.versions WHERE id = NEW.champion_id;
  IF version.model_id IS DISTINCT FROM NEW.id THEN
    PERFORM guard.refuse(format('the champion of %s must be a version of it', NEW.name));
  END IF;
  IF was IS NULL AND guard.recorded('model:' || NEW.id, 'model.champion_set')
     AND NOT EXISTS (SELECT FROM public.proposals WHERE candidate_id = NEW.champion_id) THEN
    INSERT INTO guard.served VALUES (NEW.champion_id);
    RETURN NULL;
  END IF;
  IF EXISTS (
    SELECT FROM public.proposals p
    WHERE p.candidate_id = NEW.champion_id AND p.champion_id = was AND p.state = 'promoted'
      AND guard.recorded('proposal:' || p.id, 'proposal.promoted')
  ) THEN
    INSERT INTO guard.served VALUES (NEW.champion_id) ON CONFLICT DO NOTHING;
    RETURN NULL;
  END IF;
  IF EXISTS (SELECT FROM guard.served WHERE version_id = NEW.champion_id) THEN
    IF guard.recorded('model:' || NEW.id, 'model.rolled_back')
       AND EXISTS (SELECT FROM public.versions WHERE id = was AND replaced_id = NEW.champion_id) THEN
      RETURN NULL;
    END IF;
    SELECT details INTO again FROM public.audit
    WHERE txid = txid_current() AND subject = 'version:' || NEW.champion_id AND action = 'version.promoted_again'
    ORDER BY id DESC LIMIT 1;
    IF guard.holds(again ->> 'approved_by', 'approver') THEN
      RETURN NULL;
    END IF;
  END IF;
  PERFORM guard.refuse(format(
    'version %s cannot become the champion of %s: that takes an approved promotion, a rollback, or an approver''s vote '
    'for a version that has served', version.name, NEW.name));
  RETURN NULL;
END $$;

CREATE FUNCTION guard.envelope_insert() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NOT guard.holds(NEW.signed_by, 'approver') THEN
    PERFORM guard.refuse(format('%s may not sign an envelope: only an approver may', NEW.signed_by));
  END IF;
  IF NEW.revoked_at IS NOT NULL THEN
    PERFORM guard.refuse('an envelope begins in force');
  END IF;
  RETURN NEW;
END $$;

CREATE FUNCTION guard.envelope_update() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF (NEW.id, NEW.model_id, NEW.document, NEW.document_sha256, NEW.signed_by, NEW.reason, NEW.created_at,
      NEW.expires_at)
     IS DISTINCT FROM
     (OLD.id, OLD.model_id, OLD.document, OLD.document_sha256, OLD.signed_by, OLD.reason, OLD.created_at,
      OLD.expires_at)
     OR (OLD.revoked_at IS NOT NULL AND NEW.revoked_at IS DISTINCT FROM OLD.revoked_at) THEN
    PERFORM guard.refuse('a signed envelope stays as it was signed; it can only be revoked');
  END IF;
  RETURN NEW;
END $$;

CREATE TRIGGER append BEFORE INSERT ON public.audit FOR EACH ROW EXECUTE FUNCTION guard.audit_append();
CREATE TRIGGER kept BEFORE UPDATE OR DELETE OR TRUNCATE ON public.audit EXECUTE FUNCTION guard.never();
CREATE TRIGGER born BEFORE INSERT ON public.proposals FOR EACH ROW EXECUTE FUNCTION guard.proposal_insert();
CREATE TRIGGER step BEFORE UPDATE ON public.proposals FOR EACH ROW EXECUTE FUNCTION guard.proposal_update();
CREATE TRIGGER kept BEFORE DELETE OR TRUNCATE ON public.proposals EXECUTE FUNCTION guard.never();
CREATE CONSTRAINT TRIGGER recorded AFTER UPDATE OF state ON public.proposals DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW WHEN (OLD.state IS DISTINCT FROM NEW.state) EXECUTE FUNCTION guard.proposal_recorded();
CREATE TRIGGER cast_vote BEFORE INSERT ON public.votes FOR EACH ROW EXECUTE FUNCTION guard.vote_insert();
CREATE TRIGGER changed BEFORE UPDATE ON public.votes FOR EACH ROW EXECUTE FUNCTION guard.vote_update();
CREATE TRIGGER kept BEFORE DELETE OR TRUNCATE ON public.votes EXECUTE FUNCTION guard.never();
CREATE TRIGGER born BEFORE INSERT ON public.versions FOR EACH ROW EXECUTE FUNCTION guard.version_insert();
CREATE TRIGGER changed BEFORE UPDATE ON public.versions FOR EACH ROW EXECUTE FUNCTION guard.version_update();
CREATE CONSTRAINT TRIGGER serves AFTER UPDATE OF state, promoted_at, replaced_id ON public.versions
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION guard.version_serves();
CREATE TRIGGER kept BEFORE DELETE OR TRUNCATE ON public.versions EXECUTE FUNCTION guard.never();
CREATE TRIGGER changed BEFORE UPDATE OF name, tier, solo ON public.models
  FOR EACH ROW EXECUTE FUNCTION guard.model_update();
CREATE TRIGGER kept BEFORE DELETE OR TRUNCATE ON public.models EXECUTE FUNCTION guard.never();
CREATE CONSTRAINT TRIGGER champion AFTER INSERT OR UPDATE OF champion_id ON public.models DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION guard.champion_moved();
CREATE TRIGGER signed BEFORE INSERT ON public.envelopes FOR EACH ROW EXECUTE FUNCTION guard.envelope_insert();
CREATE TRIGGER changed BEFORE UPDATE ON public.envelopes FOR EACH ROW EXECUTE FUNCTION guard.envelope_update();
CREATE TRIGGER kept BEFORE DELETE OR TRUNCATE ON public.envelopes EXECUTE FUNCTION guard.never();
