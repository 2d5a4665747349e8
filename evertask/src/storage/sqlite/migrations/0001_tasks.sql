-- Instants are microseconds since 1970, durations are microseconds, ids are the 16 bytes of a UUID.
-- States: 0 pending, 1 running, 2 completed, 3 failed, 4 cancelled.

-- Lines in which pending tasks wait. A claim walks only the lanes it can serve, so what waits in others costs it nothing.
-- Lanes are never deleted or changed: their numbers may be remembered.
CREATE TABLE evertask_lanes (
    lane     INTEGER PRIMARY KEY,
    queue    TEXT    NOT NULL,
    name     TEXT    NOT NULL,
    version  INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    suspect  INTEGER NOT NULL, -- 1: for tasks whose nodes died so often that they are run one at a time
    UNIQUE (queue, name, version, priority, suspect)
) STRICT;

-- What changes about a task. Rows are small, since SQLite writes a whole row whenever one column changes.
CREATE TABLE evertask_tasks (
    seq          INTEGER PRIMARY KEY,
    id           BLOB    NOT NULL UNIQUE,
    lane         INTEGER NOT NULL,
    state        INTEGER NOT NULL DEFAULT 0,
    created_at   INTEGER NOT NULL,
    due_at       INTEGER NOT NULL,
    lease        INTEGER NOT NULL DEFAULT 0,
    spent        INTEGER NOT NULL DEFAULT 0, -- tries
    unreadable   INTEGER NOT NULL DEFAULT 0,
    losses       INTEGER NOT NULL DEFAULT 0,
    lost_alone   INTEGER NOT NULL DEFAULT 0,
    node         BLOB,                       -- who holds it, exactly while it runs
    claim        INTEGER,                    -- by which claim; 0 if it was seized
    begun        INTEGER NOT NULL DEFAULT 0,
    cancel_asked INTEGER NOT NULL DEFAULT 0,
    started_at   INTEGER,
    finished_at  INTEGER,
    expires_at   INTEGER,
    prune_at     INTEGER,
    key_name     TEXT,                       -- the handler's name, if there is a key
    key          TEXT,
    request      BLOB,                       -- the dispatch that replaced it last
    error        TEXT,
    output_codec INTEGER,
    output       BLOB,
    output_error TEXT
) STRICT;

CREATE INDEX evertask_pending ON evertask_tasks (lane, due_at, id) WHERE state = 0;
CREATE INDEX evertask_running ON evertask_tasks (node, claim) WHERE state = 1;
CREATE INDEX evertask_expiring ON evertask_tasks (expires_at) WHERE state = 0 AND expires_at IS NOT NULL;
CREATE INDEX evertask_ended ON evertask_tasks (prune_at) WHERE prune_at IS NOT NULL;
-- For people, who look for what went wrong among much that went well.
CREATE INDEX evertask_unhappy ON evertask_tasks (state, id) WHERE state > 2;
CREATE UNIQUE INDEX evertask_live_keys ON evertask_tasks (key_name, key) WHERE key IS NOT NULL AND state < 2;
CREATE INDEX evertask_keys ON evertask_tasks (key) WHERE key IS NOT NULL;
CREATE INDEX evertask_requests ON evertask_tasks (request) WHERE request IS NOT NULL;

-- What a task is given when it is stored, and what only another dispatch with its key changes.
CREATE TABLE evertask_payloads (
    seq     INTEGER PRIMARY KEY,
    codec   INTEGER NOT NULL,
    bytes   BLOB    NOT NULL,
    retries INTEGER,
    timeout INTEGER -- -1: none at all
) STRICT;

CREATE TABLE evertask_tags (
    id    BLOB NOT NULL,
    key   TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (id, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX evertask_tagged ON evertask_tags (key, value, id);

-- Attempts that did not simply complete. `outcome` counts 0 failed, 1 timed out, 2 panicked, 3 cancelled, 4 snoozed,
-- 5 interrupted, 6 lost, 7 unreadable.
CREATE TABLE evertask_attempts (
    id          BLOB    NOT NULL,
    lease       INTEGER NOT NULL,
    attempt     INTEGER NOT NULL,
    node        BLOB    NOT NULL,
    binary      TEXT    NOT NULL,
    started_at  INTEGER NOT NULL,
    ended_at    INTEGER NOT NULL,
    outcome     INTEGER NOT NULL,
    error       TEXT,
    fingerprint INTEGER,
    PRIMARY KEY (id, lease)
) STRICT, WITHOUT ROWID;

CREATE INDEX evertask_fingerprints ON evertask_attempts (fingerprint, id) WHERE fingerprint IS NOT NULL;

-- For people: who is there. Whether a node lives is told by its lock file, not by this.
CREATE TABLE evertask_nodes (
    id        BLOB    PRIMARY KEY,
    host      TEXT    NOT NULL,
    pid       INTEGER NOT NULL,
    binary    TEXT    NOT NULL,
    handlers  TEXT    NOT NULL, -- JSON: [["name", version], …]
    queues    TEXT    NOT NULL, -- JSON: ["name", …]
    joined_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
