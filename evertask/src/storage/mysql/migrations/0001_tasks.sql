-- Instants are microseconds since 1970, durations are microseconds. All text is kept as bytes of UTF-8 and compared so.
-- States: 0 pending, 1 running, 2 completed, 3 failed, 4 cancelled.
-- There are no indexes over a part of a table here. Instead, a column that an index is made for is null in all other rows.

-- Lines in which pending tasks wait. A claim walks only the lanes it can serve, so what waits in others costs it nothing.
-- Lanes are never deleted or changed: their numbers may be remembered. They are made while the first row of the migrations is
-- locked, so that whoever sees a number sees all smaller ones.
CREATE TABLE IF NOT EXISTS {lanes} (
    lane     BIGINT         NOT NULL PRIMARY KEY,
    queue    VARBINARY(800) NOT NULL,
    name     VARBINARY(800) NOT NULL,
    version  BIGINT         NOT NULL,
    priority SMALLINT       NOT NULL,
    suspect  BOOLEAN        NOT NULL, -- for tasks whose nodes died so often that they are run one at a time
    UNIQUE INDEX lines_of_tasks (queue, name, version, priority, suspect)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4;

CREATE TABLE IF NOT EXISTS {tasks} (
    id           BINARY(16) NOT NULL PRIMARY KEY,
    lane         BIGINT     NOT NULL,
    line         BIGINT,                         -- the lane, exactly while it is pending
    state        TINYINT    NOT NULL DEFAULT 0,
    unhappy      TINYINT,                        -- the state, where it is failed or cancelled
    created_at   BIGINT     NOT NULL,
    due_at       BIGINT     NOT NULL,
    lease        BIGINT     NOT NULL DEFAULT 0,
    spent        BIGINT     NOT NULL DEFAULT 0,  -- tries
    unreadable   BIGINT     NOT NULL DEFAULT 0,
    losses       BIGINT     NOT NULL DEFAULT 0,
    lost_alone   BIGINT     NOT NULL DEFAULT 0,
    begun        BOOLEAN    NOT NULL DEFAULT FALSE,
    cancel_asked BOOLEAN    NOT NULL DEFAULT FALSE,
    node         BINARY(16),                     -- who holds it, exactly while it runs
    claim        BIGINT,                         -- by which claim; 0 if it was seized
    started_at   BIGINT,
    finished_at  BIGINT,
    expires_at   BIGINT,
    lapses_at    BIGINT,                         -- the same, exactly while it is pending
    prune_at     BIGINT,
    tick         BIGINT,                         -- the instant of the schedule that made it
    retries      BIGINT,
    timeout      BIGINT,                         -- -1: none at all
    request      BINARY(16),                     -- the dispatch that wrote it last, where there is a key
    codec        INT        NOT NULL,
    output_codec INT,
    live_key     VARBINARY(1604),                -- the handler's name, a zero, the key: exactly while it is pending or runs
    `key`        VARBINARY(800),
    payload      LONGBLOB   NOT NULL,
    output       LONGBLOB,
    error        MEDIUMBLOB,
    output_error MEDIUMBLOB,
    INDEX pending (line, due_at, id),
    INDEX running (node, claim),
    INDEX lapsing (lapses_at),
    INDEX ended (prune_at),
    INDEX unhappy (unhappy, id),                 -- for people, who look for what went wrong among much that went well
    UNIQUE INDEX live_keys (live_key),
    INDEX with_key (`key`),
    INDEX requests (request)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4;

CREATE TABLE IF NOT EXISTS {tags} (
    id    BINARY(16)     NOT NULL,
    `key` VARBINARY(800) NOT NULL,
    value VARBINARY(800) NOT NULL,
    PRIMARY KEY (id, `key`),
    INDEX tagged (`key`, value, id)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4;

-- Attempts that did not simply complete. `outcome` counts 0 failed, 1 timed out, 2 panicked, 3 cancelled, 4 snoozed,
-- 5 interrupted, 6 lost, 7 unreadable.
CREATE TABLE IF NOT EXISTS {attempts} (
    id          BINARY(16) NOT NULL,
    lease       BIGINT     NOT NULL,
    attempt     BIGINT     NOT NULL,
    node        BINARY(16) NOT NULL,
    started_at  BIGINT     NOT NULL,
    ended_at    BIGINT     NOT NULL,
    fingerprint BIGINT,
    outcome     TINYINT    NOT NULL,
    `binary`    BLOB       NOT NULL,
    error       MEDIUMBLOB,
    PRIMARY KEY (id, lease),
    INDEX fingerprints (fingerprint, id)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4;

-- Who is there. A node whose beat stands still for a whole lease, under the eyes of another one, is dead.
CREATE TABLE IF NOT EXISTS {nodes} (
    id        BINARY(16) NOT NULL PRIMARY KEY,
    beat      BIGINT     NOT NULL,
    beat_at   BIGINT     NOT NULL,
    joined_at BIGINT     NOT NULL,
    lease     BIGINT,          -- how long its beat may stand still; null if it never said
    pid       BIGINT     NOT NULL DEFAULT 0,
    host      BLOB,
    `binary`  BLOB,
    handlers  MEDIUMBLOB,      -- JSON: [["name", version], …]
    queues    MEDIUMBLOB       -- JSON: ["name", …]
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4;

-- Rules that make tasks. `bytes` holds all that no SQL looks into.
CREATE TABLE IF NOT EXISTS {schedules} (
    name     VARBINARY(800) NOT NULL, -- of the handler
    `key`    VARBINARY(800) NOT NULL,
    revision BINARY(16)     NOT NULL, -- which change wrote it: what is compared before it is set
    next_at  BIGINT,                  -- when it comes up; null if it does not by itself
    last     BINARY(16),              -- the task it made last
    format   BIGINT         NOT NULL, -- what a program must know to read `bytes`
    codec    INT            NOT NULL,
    bytes    LONGBLOB       NOT NULL,
    PRIMARY KEY (name, `key`),
    INDEX upcoming (name, next_at, `key`)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4;
