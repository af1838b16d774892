-- Secrets that live in the store, encrypted; see package vault.
CREATE TABLE secrets (
    workspace TEXT    NOT NULL,
    name      TEXT    NOT NULL,
    version   INTEGER NOT NULL,
    key_id    TEXT    NOT NULL, -- of the key that sealed wrapped
    wrapped   BLOB    NOT NULL, -- the secret's own key
    sealed    BLOB    NOT NULL, -- the secret, by its own key
    author    TEXT    NOT NULL,
    at        INTEGER NOT NULL,
    PRIMARY KEY (workspace, name)
) STRICT, WITHOUT ROWID;
