-- The search path that functions bring now names temporary tables, last. One that is not named comes first: a temporary table
-- `tasks` of the caller's session would be taken for ours.

CREATE OR REPLACE FUNCTION evertask_store(given jsonb, payloads bytea[], clock bigint DEFAULT NULL)
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
    -- Delivered if and when the transaction commits. Somebody who listens and does not read fills what the server keeps of them, and
    -- when that is full every transaction fails that tells anything. Ours does not: who is not told looks now and then.
    IF (anything OR soonest IS NOT NULL) AND pg_notification_queue_usage() < 0.5 THEN
        PERFORM pg_notify('evertask.' || current_schema(), concat_ws(' ', CASE WHEN anything THEN 'due' END, 'soon:' || soonest));
    END IF;
END
$body$;

ALTER FUNCTION evertask_enqueue(text, jsonb, text, timestamptz, interval, text, integer, jsonb, interval, integer, integer, interval)
    SET search_path FROM CURRENT;
