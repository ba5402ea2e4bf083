-- Raw SQL as somebody would write it who holds the application's role and nothing else: sequences of transactions on a
-- model each, lawful in most parts and not in others. Every part of every transaction is left out, or made wrong, by chance.

CREATE SCHEMA fuzz;
CREATE TABLE fuzz.tally (act text PRIMARY KEY, allowed bigint NOT NULL DEFAULT 0, refused bigint NOT NULL DEFAULT 0);

CREATE FUNCTION fuzz.chance(share double precision) RETURNS boolean LANGUAGE sql VOLATILE AS $$ SELECT random() < share $$;

CREATE FUNCTION fuzz.one_of(VARIADIC words text[]) RETURNS text LANGUAGE sql VOLATILE AS $$
  SELECT words[1 + floor(random() * array_length(words, 1))::int]
$$;

-- An entry that follows the newest one: its hash is made up, which the application's own check of the chain would find.
CREATE PROCEDURE fuzz.record(what text, whom text, details jsonb DEFAULT '{}') LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO audit (at, actor, action, subject, details, previous_hash, hash)
  SELECT now(), 'eve', what, whom, details, coalesce((SELECT hash FROM audit ORDER BY id DESC LIMIT 1), repeat('0', 64)),
    encode(sha256(random()::text::bytea), 'hex');
END $$;

CREATE FUNCTION fuzz.new_model(tier int, solo boolean) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  model bigint;
  version bigint;
BEGIN
  INSERT INTO models (name, owner, task, tier, solo, frozen, settings)
  VALUES ('m' || md5(random()::text), 'eve', 'classification', tier, solo, false, '{}') RETURNING id INTO model;
  INSERT INTO versions (model_id, number, name, state, flavour, manifest, manifest_sha256, baseline)
  VALUES (model, 1, 'v1', 'registered', 'none', '{}', 'x', '{}') RETURNING id INTO version;
  UPDATE models SET champion_id = version WHERE id = model;
  UPDATE versions SET state = 'champion', promoted_at = now() WHERE id = version;
  CALL fuzz.record('model.champion_set', 'model:' || model, '{"version": "v1"}');
  RETURN model;
END $$;

-- One transaction on one model; what it tried.
CREATE FUNCTION fuzz.act(model bigint, what text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  p proposals;
  m models;
  onward text;
  new_version bigint;
BEGIN
  SELECT * INTO m FROM models WHERE id = model;
  SELECT * INTO p FROM proposals WHERE model_id = model ORDER BY id DESC LIMIT 1;
  IF what = 'propose' THEN
    INSERT INTO proposals (model_id, champion_id, state, reason, verdict, requested_by, evidence, evidence_sha256, recipe,
      snapshot, gates, comparison, expires_at)
    VALUES (model, m.champion_id, CASE WHEN fuzz.chance(.9) THEN 'draft' ELSE 'awaiting_promotion' END, 'x', 'fragile',
      fuzz.one_of('policy', 'policy', 'oli', 'ada', 'vic', 'eve'), '{}', repeat('a', 64), 'noise', '{}', '[]', '{}',
      now() + CASE WHEN fuzz.chance(.9) THEN interval '1 day' ELSE -interval '1 day' END);
  ELSIF what = 'step' THEN
    SELECT CASE WHEN fuzz.chance(.9) AND p.state <> 'awaiting_promotion' THEN CASE p.state
      WHEN 'draft' THEN 'proposed' WHEN 'proposed' THEN 'awaiting_approval' WHEN 'awaiting_approval' THEN 'approved'
      WHEN 'approved' THEN 'queued' WHEN 'queued' THEN 'training' WHEN 'training' THEN 'trained'
      WHEN 'trained' THEN 'validating' WHEN 'validating' THEN 'awaiting_promotion' WHEN 'promoted' THEN 'observing'
      ELSE 'confirmed' END
      ELSE fuzz.one_of('approved', 'training', 'awaiting_promotion', 'promoted', 'confirmed', 'expired', 'rolled_back') END
      INTO onward;
    IF onward = 'awaiting_promotion' AND fuzz.chance(.9) THEN
      INSERT INTO versions (model_id, number, name, state, flavour, manifest, manifest_sha256, baseline)
      SELECT model, 1 + max(number), 'v' || 1 + max(number), fuzz.one_of('candidate', 'candidate', 'candidate', 'registered'),
        'none', '{}', 'x', '{}' FROM versions WHERE model_id = model RETURNING id INTO new_version;
    END IF;
    UPDATE proposals SET state = onward, candidate_id = coalesce(new_version, candidate_id), gates = CASE
      WHEN onward <> 'awaiting_promotion' THEN gates
      WHEN fuzz.chance(.9) THEN '[{"name": "clean", "passed": true}]' ELSE '[{"name": "clean", "passed": false}]' END
    WHERE id = p.id;
    IF fuzz.chance(.95) THEN
      CALL fuzz.record('proposal.' || onward, 'proposal:' || p.id);
    END IF;
    IF onward IN ('proposed', 'approved', 'queued', 'training', 'trained', 'validating') AND fuzz.chance(.9) THEN
      PERFORM fuzz.act(model, 'step');
    END IF;
  ELSIF what = 'vote' THEN
    INSERT INTO votes (proposal_id, stage, actor, decision, reason, evidence_sha256, self_approved, as_validator)
    VALUES (p.id, CASE WHEN fuzz.chance(.9) = (p.state = 'awaiting_approval') THEN 'training' ELSE 'promotion' END,
      fuzz.one_of('oli', 'ada', 'vic', 'eve', 'policy'), CASE WHEN fuzz.chance(.95) THEN 'approve' ELSE 'reject' END,
      fuzz.one_of('', 'because', 'because'), repeat(CASE WHEN fuzz.chance(.9) THEN 'a' ELSE 'b' END, 64), fuzz.chance(.3),
      fuzz.chance(.3));
  ELSIF what = 'promote' THEN
    IF fuzz.chance(.95) THEN
      UPDATE models SET champion_id = coalesce(p.candidate_id, (SELECT max(id) FROM versions WHERE model_id = model))
      WHERE id = model;
    END IF;
    IF fuzz.chance(.95) THEN
      UPDATE versions SET state = 'registered' WHERE id = m.champion_id;
    END IF;
    UPDATE versions SET state = 'champion', promoted_at = now(), replaced_id = m.champion_id WHERE id = p.candidate_id;
    IF fuzz.chance(.95) THEN
      UPDATE proposals SET state = 'promoted' WHERE id = p.id;
    END IF;
    CALL fuzz.record('proposal.promoted', 'proposal:' || p.id);
  ELSIF what = 'seize' THEN  -- the pointer, with an entry that fits another way there
    SELECT id INTO new_version FROM versions WHERE model_id = model ORDER BY random() LIMIT 1;
    UPDATE models SET champion_id = new_version WHERE id = model;
    UPDATE versions SET state = CASE WHEN id = new_version THEN 'champion' ELSE 'registered' END
    WHERE id IN (new_version, m.champion_id);
    IF fuzz.chance(.5) THEN
      UPDATE versions SET replaced_id = new_version WHERE id = m.champion_id;
    END IF;
    CALL fuzz.record(fuzz.one_of('model.rolled_back', 'model.champion_set'), 'model:' || model, '{"version": "v2"}');
    CALL fuzz.record('version.promoted_again', 'version:' || new_version, '{"approved_by": "vic"}');
    CALL fuzz.record('proposal.promoted', 'proposal:' || p.id);
  ELSE  -- rewrite what was decided
    CASE floor(random() * 9)::int
      WHEN 0 THEN UPDATE votes SET decision = fuzz.one_of('approve', 'reject') WHERE proposal_id = p.id;
      WHEN 1 THEN UPDATE proposals SET gates = '[{"passed": true}]' WHERE id = p.id;
      WHEN 2 THEN UPDATE proposals SET requested_by = 'policy' WHERE id = p.id;
      WHEN 3 THEN UPDATE proposals SET evidence_sha256 = repeat('b', 64) WHERE id = p.id;
      WHEN 4 THEN UPDATE proposals SET candidate_id = (SELECT max(id) FROM versions WHERE model_id = model) WHERE id = p.id;
      WHEN 5 THEN UPDATE models SET tier = 0, solo = true WHERE id = model;
      WHEN 6 THEN UPDATE versions SET promoted_at = now() WHERE model_id = model;
      WHEN 7 THEN
        INSERT INTO envelopes (model_id, document, document_sha256, signed_by, reason, expires_at)
        VALUES (model, '{}', 'x', fuzz.one_of('oli', 'eve', 'policy'), 'x', now() + interval '1 day');
        UPDATE proposals SET envelope_id = (SELECT max(id) FROM envelopes) WHERE id = p.id;
      ELSE DELETE FROM votes WHERE proposal_id = p.id;
    END CASE;
  END IF;
END $$;

CREATE PROCEDURE fuzz.run(sequences int, steps int, seed double precision) LANGUAGE plpgsql AS $$
DECLARE
  model bigint;
  what text;
  passed boolean;
BEGIN
  PERFORM setseed(seed);
  FOR i IN 1 .. sequences LOOP
    model := fuzz.new_model(floor(random() * 4)::int, fuzz.chance(.2));
    COMMIT;
    FOR j IN 1 .. steps LOOP
      what := CASE WHEN j = 1 THEN 'propose'
        ELSE fuzz.one_of('step', 'step', 'step', 'vote', 'vote', 'vote', 'promote', 'promote', 'seize', 'rewrite', 'propose') END;
      BEGIN
        PERFORM fuzz.act(model, what);
        SET CONSTRAINTS ALL IMMEDIATE;  -- what COMMIT would check
        passed := true;
      EXCEPTION WHEN OTHERS THEN
        IF SQLSTATE NOT IN ('HF001', '23505', '23502', '23503', '23514', '42501') THEN
          RAISE;
        END IF;
        passed := false;
      END;
      INSERT INTO fuzz.tally VALUES (what, passed::int, (NOT passed)::int)
      ON CONFLICT (act) DO UPDATE SET allowed = tally.allowed + passed::int, refused = tally.refused + (NOT passed)::int;
      COMMIT;
    END LOOP;
  END LOOP;
END $$;
