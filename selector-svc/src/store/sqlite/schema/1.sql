CREATE TABLE schema_version (version INTEGER NOT NULL) STRICT;
INSERT INTO schema_version (version) VALUES (1);

CREATE TABLE selections (
  key INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  spec_digest TEXT NOT NULL,
  -- NULL: none.
  request_id TEXT UNIQUE,
  -- Times are milliseconds since 1970.
  created INTEGER NOT NULL,
  updated INTEGER NOT NULL,
  -- Number of the newest event.
  sequence INTEGER NOT NULL,
  -- What lists filter by, told apart from the summary.
  phase TEXT NOT NULL,
  ended INTEGER NOT NULL,
  -- Empty: nobody.
  owner TEXT NOT NULL DEFAULT '',
  fence INTEGER NOT NULL DEFAULT 0,
  lease_until INTEGER NOT NULL DEFAULT 0,
  lease_length INTEGER NOT NULL DEFAULT 0,
  summary TEXT NOT NULL
) STRICT;
CREATE INDEX selections_by_creation ON selections (created, id);
CREATE INDEX selections_by_phase ON selections (phase, created, id);
CREATE INDEX selections_to_drive ON selections (updated, id) WHERE ended = 0;

-- Creation, id and phase stand here once more, so that a page by label reads nothing else.
CREATE TABLE labels (
  name TEXT NOT NULL,
  value TEXT NOT NULL,
  created INTEGER NOT NULL,
  id TEXT NOT NULL,
  phase TEXT NOT NULL,
  selection INTEGER NOT NULL REFERENCES selections (key) ON DELETE CASCADE,
  PRIMARY KEY (name, value, created, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX labels_of_selection ON labels (selection);

CREATE TABLE events (
  selection INTEGER NOT NULL REFERENCES selections (key) ON DELETE CASCADE,
  sequence INTEGER NOT NULL,
  at INTEGER NOT NULL,
  record TEXT NOT NULL,
  PRIMARY KEY (selection, sequence)
) STRICT, WITHOUT ROWID;

-- Losses and forecasts outlive their selections.
CREATE TABLE losses (
  key TEXT NOT NULL PRIMARY KEY,
  observation TEXT NOT NULL,
  selection TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE forecasts (
  -- Ascending in time.
  key INTEGER PRIMARY KEY AUTOINCREMENT,
  model_key TEXT NOT NULL,
  data_digest TEXT NOT NULL,
  loss REAL NOT NULL,
  selection TEXT NOT NULL,
  UNIQUE (selection, model_key, data_digest)
) STRICT;
CREATE INDEX forecasts_by_model ON forecasts (model_key, key);
