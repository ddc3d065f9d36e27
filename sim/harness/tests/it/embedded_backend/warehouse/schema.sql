-- A made-up application with every column type and every kind of rule in it.

CREATE TABLE boxes (
    id TEXT PRIMARY KEY,
    label TEXT NOT NULL,
    weight INTEGER DEFAULT 0,
    tags TEXT,
    x DOUBLE PRECISION,
    y DOUBLE PRECISION,
    shelf TEXT,
    inside TEXT,
    state TEXT DEFAULT 'new',
    touched TIMESTAMPTZ DEFAULT now(),
    made TIMESTAMPTZ DEFAULT now(),
    opened TIMESTAMPTZ,
    tiny SMALLINT DEFAULT 7,
    big BIGINT,
    coarse REAL DEFAULT 0.5,
    sealed BOOLEAN DEFAULT false,
    "order" BIGINT DEFAULT 0
);

CREATE TABLE shelves (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    touched TIMESTAMPTZ DEFAULT now()
);

CREATE TABLE stickers (
    id TEXT PRIMARY KEY,
    box TEXT NOT NULL,
    words TEXT NOT NULL,
    touched TIMESTAMPTZ DEFAULT now()
);

CREATE TABLE knobs (
    id TEXT PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    value TEXT,
    touched TIMESTAMPTZ DEFAULT now()
);

CREATE TABLE belts (
    id TEXT PRIMARY KEY,
    running INTEGER DEFAULT 0,
    speed INTEGER,
    beat TIMESTAMPTZ,
    touched TIMESTAMPTZ DEFAULT now()
);

CREATE TABLE memos (
    id TEXT PRIMARY KEY,
    words TEXT,
    knob TEXT,
    shelf TEXT,
    code TEXT,
    weight REAL,
    touched TIMESTAMPTZ DEFAULT now(),
    UNIQUE (code, weight)
);

ALTER TABLE boxes REPLICA IDENTITY FULL;
ALTER TABLE shelves REPLICA IDENTITY FULL;
ALTER TABLE stickers REPLICA IDENTITY FULL;
ALTER TABLE knobs REPLICA IDENTITY FULL;
ALTER TABLE belts REPLICA IDENTITY FULL;
ALTER TABLE memos REPLICA IDENTITY FULL;

CREATE PUBLICATION powersync FOR TABLE boxes, shelves, stickers, knobs, belts, memos;
