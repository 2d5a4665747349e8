-- Storing tasks from inside somebody else's transaction: they exist if it commits, and never did if it rolls back.
-- Functions bring their own search path, so it does not matter what that of the caller is.

-- What evertask calls in the transactions of its users. `given` is an array of tasks whose texts have been checked, `payloads` has
-- their arguments in the same order. A task may name its lane; if it does not, the lane is looked for and made.
-- `how` counts 0 created, 1 replaced, 2 existing.
CREATE FUNCTION evertask_store(given jsonb, payloads bytea[], clock bigint DEFAULT NULL)
    RETURNS TABLE (place bigint, stored uuid, how smallint)
    LANGUAGE plpgsql
    SET search_path FROM CURRENT
    SET enable_seqscan = off
AS $body$
#variable_conflict use_column
DECLARE
    instant CONSTANT bigint := coalesce(clock, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint);
    one      record;
    wanted   bigint;
    due      bigint;
    written  boolean;
    anything boolean := false;
    soonest  bigint;
BEGIN
    -- By key, so that two batches wait for each other's keys in the same order.
    FOR one IN
        SELECT * FROM ROWS FROM (
            jsonb_to_recordset(given) AS (
                id uuid, lane bigint, queue text, name text, version bigint, priority smallint, at bigint, delay bigint,
                expires bigint, codec integer, retries bigint, timeout bigint, tick bigint, key text, tags jsonb
            ),
            unnest(payloads)
        ) WITH ORDINALITY AS n (
            id, lane, queue, name, version, priority, at, delay, expires, codec, retries, timeout, tick, key, tags, payload, place
        )
        ORDER BY n.name COLLATE "C", n.key COLLATE "C" NULLS FIRST, n.place
    LOOP
        place := one.place;
        stored := one.id;
        how := 0;
        IF one.key IS NOT NULL THEN
            PERFORM FROM tasks AS t WHERE t.id = one.id;
            IF FOUND THEN
                RETURN NEXT;
                CONTINUE;
            END IF;
            SELECT t.id INTO stored FROM tasks AS t WHERE t.request = one.id;
            IF FOUND THEN
                how := 1;
                RETURN NEXT;
                CONTINUE;
            END IF;
            -- Not locked: it could then not be settled for as long as the caller's transaction lasts.
            SELECT t.id INTO stored FROM tasks AS t
            WHERE t.key_name = one.name AND t.key = one.key AND t.key IS NOT NULL AND t.state = 1;
            IF FOUND THEN
                how := 2;
                RETURN NEXT;
                CONTINUE;
            END IF;
        END IF;

        wanted := one.lane;
        IF wanted IS NULL THEN
            SELECT l.lane INTO wanted FROM lanes AS l
            WHERE l.queue = one.queue AND l.name = one.name AND l.version = one.version AND l.priority = one.priority
                AND NOT l.suspect;
            IF NOT FOUND THEN
                -- Numbers become visible in the order in which they are given out: see the table.
                LOCK TABLE lanes IN SHARE ROW EXCLUSIVE MODE;
                INSERT INTO lanes (queue, name, version, priority, suspect)
                VALUES (one.queue, one.name, one.version, one.priority, false)
                ON CONFLICT DO NOTHING;
                SELECT l.lane INTO STRICT wanted FROM lanes AS l
                WHERE l.queue = one.queue AND l.name = one.name AND l.version = one.version AND l.priority = one.priority
                    AND NOT l.suspect;
            END IF;
        END IF;

        due := greatest(coalesce(one.at, instant + one.delay, instant), instant);
        IF one.key IS NULL THEN
            stored := one.id;
            INSERT INTO tasks (id, lane, created_at, due_at, expires_at, codec, payload, retries, timeout, tick)
            VALUES (one.id, wanted, instant, due, instant + one.expires, one.codec, one.payload, one.retries, one.timeout, one.tick)
            ON CONFLICT (id) DO NOTHING;
            written := FOUND;
        ELSE
            INSERT INTO tasks (id, lane, created_at, due_at, expires_at, codec, payload, retries, timeout, tick,
                key_name, key, request)
            VALUES (one.id, wanted, instant, due, instant + one.expires, one.codec, one.payload, one.retries, one.timeout, one.tick,
                one.name, one.key, one.id)
            ON CONFLICT (key_name, key) WHERE key IS NOT NULL AND state < 2 DO UPDATE SET
                lane = excluded.lane, due_at = excluded.due_at, expires_at = excluded.expires_at, codec = excluded.codec,
                payload = excluded.payload, retries = excluded.retries, timeout = excluded.timeout, tick = excluded.tick,
                request = excluded.request, spent = 0, unreadable = 0, losses = 0, lost_alone = 0, error = NULL
            WHERE tasks.state = 0
            RETURNING tasks.id INTO stored;
            written := FOUND;
            IF NOT written THEN
                -- Claimed a moment ago. Now it is locked, so that it is still there.
                SELECT t.id INTO STRICT stored FROM tasks AS t
                WHERE t.key_name = one.name AND t.key = one.key AND t.key IS NOT NULL AND t.state < 2;
                how := 2;
            ELSIF stored <> one.id THEN
                DELETE FROM tags AS t WHERE t.id = stored;
                how := 1;
            END IF;
        END IF;

        IF written THEN
            INSERT INTO tags (id, key, value) SELECT stored, t.key, t.value FROM jsonb_each_text(one.tags) AS t;
            anything := anything OR due <= instant;
            IF due > instant THEN
                soonest := least(soonest, due - instant);
            END IF;
        END IF;
        RETURN NEXT;
    END LOOP;
    -- Delivered if and when the transaction commits.
    IF anything OR soonest IS NOT NULL THEN
        PERFORM pg_notify('evertask.' || current_schema(), concat_ws(' ', CASE WHEN anything THEN 'due' END, 'soon:' || soonest));
    END IF;
END
$body$;

CREATE FUNCTION evertask_check_text(what text, said text, most integer) RETURNS void
    LANGUAGE plpgsql IMMUTABLE
AS $body$
BEGIN
    IF said IS NULL OR said = '' THEN
        RAISE invalid_parameter_value USING MESSAGE = format('evertask_enqueue: %s is empty', what);
    ELSIF char_length(said) > most THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('evertask_enqueue: %s has %s characters; at most %s fit', what, char_length(said), most);
    ELSIF said COLLATE "C" ~ '[\u0001-\u001f\u007f-\u009f]' THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('evertask_enqueue: %s %s holds a control character; take it out', what, to_json(said));
    END IF;
END
$body$;

-- Stores one task, and returns the id under which it is stored: for triggers, and for programs in whatever language.
--
--     SELECT evertask.evertask_enqueue('send_welcome_email', '{"email": "ada@example.com", "name": "Ada"}', queue => 'mail');
--
-- The handler's own queue, priority and version are not known here and have to be said where they are not the usual ones.
CREATE FUNCTION evertask_enqueue(
    handler  text,
    payload  jsonb       DEFAULT '{}', -- the arguments by name
    queue    text        DEFAULT 'default',
    due_at   timestamptz DEFAULT NULL, -- an instant that has passed is now
    delay    interval    DEFAULT NULL,
    key      text        DEFAULT NULL,
    priority integer     DEFAULT 0,
    tags     jsonb       DEFAULT '{}', -- texts by name
    expires  interval    DEFAULT NULL,
    version  integer     DEFAULT 1,
    retries  integer     DEFAULT NULL,
    timeout  interval    DEFAULT NULL
)
    RETURNS uuid
    LANGUAGE plpgsql
    SET search_path FROM CURRENT
AS $body$
DECLARE
    instant CONSTANT timestamptz := clock_timestamp();
    wrong text;
    tag   record;
    id    uuid;
    bytes bytea;
BEGIN
    PERFORM evertask_check_text('handler name', handler, 200), evertask_check_text('queue name', queue, 200);
    IF key IS NOT NULL THEN
        PERFORM evertask_check_text('key', key, 200);
    END IF;
    wrong := CASE
        WHEN payload IS NULL OR jsonb_typeof(payload) <> 'object'
            THEN 'the payload is no JSON object; give the handler''s arguments by name, as in `{"email": "ada@example.com"}`'
        WHEN tags IS NULL OR jsonb_typeof(tags) <> 'object'
            THEN 'the tags are no JSON object; give texts by name, as in `{"customer": "7"}`'
        WHEN due_at IS NOT NULL AND delay IS NOT NULL THEN 'both `due_at` and `delay` are given; give one of them'
        WHEN due_at IS NOT NULL AND NOT isfinite(due_at) THEN 'the instant `due_at` never comes'
        WHEN priority IS NULL OR priority NOT BETWEEN -32768 AND 32767
            THEN format('the priority %s is out of range; it goes from -32768 to 32767', priority)
        WHEN version IS NULL OR version < 1 THEN format('the version %s is out of range; it counts from 1', version)
        WHEN retries < 0 THEN format('%s retries; there can be none, but not fewer', retries)
        WHEN timeout <= interval '0' THEN 'the timeout is no time at all; leave it out for that of the handler'
        WHEN expires <= interval '0' THEN 'it expires before it is stored'
    END;
    IF wrong IS NOT NULL THEN
        RAISE invalid_parameter_value USING MESSAGE = 'evertask_enqueue: ' || wrong;
    END IF;
    bytes := convert_to(payload::text, 'UTF8');
    IF length(bytes) > 1048576 THEN
        RAISE invalid_parameter_value USING MESSAGE = format(
            'evertask_enqueue: the payload has %s bytes, at most 1048576 fit; store what is large elsewhere and pass its address',
            length(bytes));
    END IF;
    FOR tag IN SELECT t.key, t.value FROM jsonb_each(tags) AS t LOOP
        IF jsonb_typeof(tag.value) <> 'string' THEN
            RAISE invalid_parameter_value USING MESSAGE = format('evertask_enqueue: tag %s is no text', to_json(tag.key));
        END IF;
        PERFORM evertask_check_text('tag key', tag.key, 200), evertask_check_text('tag value', tag.value #>> '{}', 200);
    END LOOP;
    IF (SELECT count(*) FROM jsonb_object_keys(tags)) > 20 THEN
        RAISE invalid_parameter_value USING MESSAGE = 'evertask_enqueue: more than 20 tags; at most 20 fit on a task';
    END IF;
    -- A UUID of version 7: milliseconds, and the rest by chance.
    id := encode(set_bit(set_bit(overlay(
        uuid_send(gen_random_uuid()) PLACING substring(int8send((extract(epoch FROM instant) * 1000)::bigint) FROM 3) FROM 1 FOR 6
    ), 52, 1), 53, 1), 'hex')::uuid;
    SELECT s.stored INTO STRICT id FROM evertask_store(
        jsonb_build_array(jsonb_build_object(
            'id', id, 'queue', queue, 'name', handler, 'version', version, 'priority', priority,
            'at', (extract(epoch FROM coalesce(due_at, instant + delay)) * 1000000)::bigint,
            'expires', (extract(epoch FROM expires) * 1000000)::bigint,
            'codec', 0, 'retries', retries, 'timeout', (extract(epoch FROM timeout) * 1000000)::bigint,
            'key', key, 'tags', tags
        )),
        ARRAY[bytes]
    ) AS s;
    RETURN id;
END
$body$;
