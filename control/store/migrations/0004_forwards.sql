-- What forwards keep beside the journal; see package forward.
CREATE TABLE forwards (
    workspace TEXT    NOT NULL,
    forward   TEXT    NOT NULL,
    started   INTEGER NOT NULL, -- when its place in the journal was saved; 0: not yet
    paused    INTEGER NOT NULL, -- 1: by hand
    PRIMARY KEY (workspace, forward)
) STRICT, WITHOUT ROWID;

CREATE TABLE forward_letters (
    workspace   TEXT    NOT NULL,
    forward     TEXT    NOT NULL,
    position    INTEGER NOT NULL, -- in the journal
    dead        INTEGER NOT NULL,
    lanes       TEXT    NOT NULL, -- JSON array
    event       BLOB    NOT NULL, -- as the journal had it
    source      TEXT    NOT NULL,
    message_id  TEXT    NOT NULL,
    type        TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    user        TEXT    NOT NULL,
    received_at INTEGER NOT NULL,
    attempts    INTEGER NOT NULL,
    first_at    INTEGER,
    next_at     INTEGER,
    died_at     INTEGER,
    code        TEXT    NOT NULL,
    message     TEXT    NOT NULL,
    hint        TEXT    NOT NULL,
    PRIMARY KEY (workspace, forward, position)
) STRICT;

CREATE INDEX forward_letters_dead ON forward_letters (workspace, forward, dead, died_at, position);
CREATE INDEX forward_letters_user ON forward_letters (workspace, user);
