-- The instant of the schedule that made a task.
ALTER TABLE evertask_payloads ADD COLUMN tick INTEGER;

-- Rules that make tasks. `bytes` holds all that no SQL looks into.
CREATE TABLE evertask_schedules (
    seq      INTEGER PRIMARY KEY,
    name     TEXT    NOT NULL, -- of the handler
    key      TEXT    NOT NULL,
    revision BLOB    NOT NULL, -- which change wrote it: what is compared before it is set
    next_at  INTEGER,          -- when it comes up; NULL if it does not by itself
    format   INTEGER NOT NULL, -- what a program must know to read `bytes`
    last     BLOB,             -- the task it made last
    codec    INTEGER NOT NULL,
    bytes    BLOB    NOT NULL,
    UNIQUE (name, key)
) STRICT;

CREATE INDEX evertask_next ON evertask_schedules (name, next_at, key, format) WHERE next_at IS NOT NULL;
