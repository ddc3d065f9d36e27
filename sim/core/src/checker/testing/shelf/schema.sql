-- An application for unit histories: boxes hold cards, labels are unique.

CREATE TABLE boxes (
    id TEXT PRIMARY KEY,
    name TEXT,
    parent_id TEXT,
    running INTEGER DEFAULT 0,
    beat TIMESTAMPTZ,
    updated_at TIMESTAMPTZ
);

CREATE TABLE cards (
    id TEXT PRIMARY KEY,
    box_id TEXT,
    title TEXT,
    body TEXT,
    hits INTEGER DEFAULT 0,
    tags TEXT,
    x DOUBLE PRECISION,
    y DOUBLE PRECISION,
    place INTEGER,
    owner TEXT,
    updated_at TIMESTAMPTZ
);

CREATE TABLE labels (
    id TEXT PRIMARY KEY,
    key TEXT UNIQUE,
    value TEXT,
    updated_at TIMESTAMPTZ
);

CREATE TABLE memos (
    id TEXT PRIMARY KEY,
    text TEXT,
    updated_at TIMESTAMPTZ
);

ALTER TABLE boxes REPLICA IDENTITY FULL;
ALTER TABLE cards REPLICA IDENTITY FULL;
ALTER TABLE labels REPLICA IDENTITY FULL;
ALTER TABLE memos REPLICA IDENTITY FULL;

CREATE PUBLICATION powersync FOR TABLE boxes, cards, labels, memos;
