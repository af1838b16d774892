-- Syncs that somebody paused by hand.
CREATE TABLE paused_syncs (
    workspace TEXT    NOT NULL,
    sync      TEXT    NOT NULL,
    at        INTEGER NOT NULL,
    PRIMARY KEY (workspace, sync)
) STRICT, WITHOUT ROWID;
