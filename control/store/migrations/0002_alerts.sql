-- What alerts are raised, and what is still to be told; see package alert.
CREATE TABLE alert_states (
    workspace  TEXT    NOT NULL,
    alert      TEXT    NOT NULL,
    sync       TEXT    NOT NULL,
    condition  TEXT    NOT NULL,
    raised     INTEGER NOT NULL,
    since      INTEGER NOT NULL,
    run        TEXT    NOT NULL,
    message    TEXT    NOT NULL,
    hint       TEXT    NOT NULL,
    told       INTEGER NOT NULL,
    raise_told INTEGER NOT NULL,
    PRIMARY KEY (workspace, alert, sync, condition)
) STRICT, WITHOUT ROWID;
