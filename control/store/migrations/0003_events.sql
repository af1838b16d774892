-- How many events the journal took, per source and hour; see package teller.
CREATE TABLE accepted_hourly (
    workspace TEXT    NOT NULL,
    source    TEXT    NOT NULL,
    hour      INTEGER NOT NULL,
    events    INTEGER NOT NULL,
    PRIMARY KEY (workspace, source, hour)
) STRICT, WITHOUT ROWID;

-- Up to where they are counted.
CREATE TABLE teller (
    workspace TEXT    NOT NULL PRIMARY KEY,
    next      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- People of whom nothing may be kept. below is 0 for those who are suppressed; an
-- erased person's events below that offset are not to be read any more.
CREATE TABLE suppressions (
    workspace TEXT    NOT NULL,
    source    TEXT    NOT NULL, -- '' is every source
    kind      TEXT    NOT NULL, -- user_id, anonymous_id
    id        TEXT    NOT NULL,
    below     INTEGER NOT NULL,
    at        INTEGER NOT NULL,
    actor     TEXT    NOT NULL,
    reason    TEXT    NOT NULL,
    PRIMARY KEY (workspace, source, kind, id, below)
) STRICT, WITHOUT ROWID;

-- Work that outlives a process: replays, deletions.
CREATE TABLE jobs (
    workspace  TEXT    NOT NULL,
    id         TEXT    NOT NULL,
    kind       TEXT    NOT NULL,
    state      TEXT    NOT NULL,
    document   TEXT    NOT NULL,
    actor      TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (workspace, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX jobs_by_kind ON jobs (workspace, kind, created_at);
