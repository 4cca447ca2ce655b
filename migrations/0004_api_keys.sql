-- Keys of programs. Only their hashes are kept: a key itself is shown once, when it is made.

CREATE TABLE api_keys (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name         text NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
    -- The key's beginning, by which people tell keys apart.
    prefix       text NOT NULL CHECK (length(prefix) BETWEEN 1 AND 20),
    key_sha256   bytea NOT NULL CONSTRAINT api_keys_key_sha256_key UNIQUE CHECK (length(key_sha256) = 32),
    scopes       text[] NOT NULL
                 CHECK (cardinality(scopes) >= 1 AND scopes <@ ARRAY['read', 'write', 'admin']),
    -- Who made it, in the words of then: it outlives them.
    created_by   text NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz,
    -- To the minute: not each request writes it.
    last_used_at timestamptz,
    revoked_at   timestamptz,
    CONSTRAINT api_keys_expires_after_creation CHECK (expires_at > created_at)
);
-- A password's change and a user's end find their sessions.
CREATE INDEX sessions_user ON sessions (user_id);
