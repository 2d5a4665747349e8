-- The instant of the schedule that made a task.
ALTER TABLE tasks ADD COLUMN tick bigint;

-- Rules that make tasks. `bytes` holds all that no SQL looks into.
CREATE TABLE schedules (
    name     text    COLLATE "C" NOT NULL, -- of the handler
    key      text    COLLATE "C" NOT NULL,
    revision uuid    NOT NULL,             -- which change wrote it: what is compared before it is set
    next_at  bigint,                       -- when it comes up; null if it does not by itself
    last     uuid,                         -- the task it made last
    format   integer NOT NULL,             -- what a program must know to read `bytes`
    codec    integer NOT NULL,
    bytes    bytea   NOT NULL,
    PRIMARY KEY (name, key)
) WITH (fillfactor = 80);

CREATE INDEX schedules_next ON schedules (name, next_at, key) WHERE next_at IS NOT NULL;
