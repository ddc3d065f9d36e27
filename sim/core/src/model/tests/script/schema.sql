-- An application for the model's decision tables: one table a rule.

CREATE TABLE beds (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    parent_id TEXT,
    updated_at TIMESTAMPTZ
);

CREATE TABLE plants (
    id TEXT PRIMARY KEY,
    label TEXT NOT NULL,
    kind TEXT DEFAULT 'herb',
    height INTEGER,
    sown TEXT,
    waterings INTEGER DEFAULT 0,
    tags TEXT,
    x DOUBLE PRECISION,
    y DOUBLE PRECISION,
    state TEXT DEFAULT 'seed',
    done_at TEXT,
    bed_id TEXT,
    seen TIMESTAMPTZ DEFAULT now(),
    updated_at TIMESTAMPTZ
);

CREATE TABLE leaves (
    id TEXT PRIMARY KEY,
    plant_id TEXT NOT NULL,
    text TEXT,
    updated_at TIMESTAMPTZ
);

CREATE TABLE veins (
    id TEXT PRIMARY KEY,
    leaf_id TEXT,
    text TEXT
);

CREATE TABLE stakes (
    id TEXT PRIMARY KEY,
    plant_id TEXT,
    size INTEGER
);

CREATE TABLE options (
    id TEXT PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    value TEXT,
    unit TEXT,
    updated_at TIMESTAMPTZ
);

CREATE TABLE badges (
    id TEXT PRIMARY KEY,
    code TEXT UNIQUE,
    option_id TEXT
);

CREATE TABLE pumps (
    id TEXT PRIMARY KEY,
    on_now INTEGER DEFAULT 0,
    speed INTEGER,
    beat TIMESTAMPTZ,
    cycles INTEGER DEFAULT 0,
    updated_at TIMESTAMPTZ
);

CREATE TABLE notes (
    id TEXT PRIMARY KEY,
    body TEXT,
    colour TEXT,
    bed_id TEXT,
    updated_at TIMESTAMPTZ
);

ALTER TABLE beds REPLICA IDENTITY FULL;
ALTER TABLE plants REPLICA IDENTITY FULL;
ALTER TABLE leaves REPLICA IDENTITY FULL;
ALTER TABLE veins REPLICA IDENTITY FULL;
ALTER TABLE stakes REPLICA IDENTITY FULL;
ALTER TABLE options REPLICA IDENTITY FULL;
ALTER TABLE badges REPLICA IDENTITY FULL;
ALTER TABLE pumps REPLICA IDENTITY FULL;
ALTER TABLE notes REPLICA IDENTITY FULL;

CREATE PUBLICATION powersync FOR TABLE beds, plants, leaves, veins, stakes, options, badges, pumps, notes;
