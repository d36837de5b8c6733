-- The platform's store as release 0.1.0 made it.
CREATE TABLE kpi_records (
  tracing_code TEXT NOT NULL,
  height BIGINT NOT NULL,
  entry BIGINT NOT NULL,
  data_offset BIGINT NOT NULL,
  data_length BIGINT NOT NULL,
  block_offset BIGINT NOT NULL,
  block_length BIGINT NOT NULL,
  city_data BLOB NOT NULL,
  chain_id TEXT NOT NULL,
  check_code BLOB NOT NULL,
  country TEXT NOT NULL,
  city TEXT NOT NULL,
  site_id TEXT NOT NULL,
  module_id TEXT NOT NULL,
  sequence BIGINT NOT NULL,
  packet_id BLOB NOT NULL,
  collected_from BIGINT NOT NULL,
  collected_to BIGINT NOT NULL,
  record_count BIGINT NOT NULL,
  log_offset BIGINT NOT NULL,
  admitted BIGINT NOT NULL,
  status TEXT NOT NULL,
  reason TEXT NOT NULL,
  PRIMARY KEY (tracing_code)
);

CREATE UNIQUE INDEX kpi_records_place ON kpi_records (height, entry);

CREATE UNIQUE INDEX kpi_records_site ON kpi_records (country, city, site_id, sequence);

CREATE TABLE observations (
  tracing_code TEXT NOT NULL,
  record INTEGER NOT NULL,
  number INTEGER NOT NULL,
  time BIGINT NOT NULL,
  indicator TEXT NOT NULL,
  data_point TEXT NOT NULL,
  exact TEXT NOT NULL,
  value DOUBLE NOT NULL,
  unit TEXT NOT NULL,
  sensor TEXT NOT NULL,
  quality SMALLINT NOT NULL,
  source TEXT NOT NULL,
  country TEXT NOT NULL,
  city TEXT NOT NULL,
  site_id TEXT NOT NULL,
  PRIMARY KEY (tracing_code, record, number)
)
 WITHOUT ROWID;

CREATE TABLE openings (
  tracing_code TEXT NOT NULL,
  seed BLOB NOT NULL,
  PRIMARY KEY (tracing_code)
);

CREATE TABLE blocks (
  height BIGINT NOT NULL,
  hash BLOB NOT NULL,
  first_index BIGINT NOT NULL,
  tree_size BIGINT NOT NULL,
  root BLOB NOT NULL,
  period_start BIGINT NOT NULL,
  period_end BIGINT NOT NULL,
  part BIGINT NOT NULL,
  entries BIGINT NOT NULL,
  block_offset BIGINT NOT NULL,
  block_length BIGINT NOT NULL,
  certificate BLOB NOT NULL,
  certified_first BIGINT NOT NULL,
  kafka_offset BIGINT NOT NULL,
  PRIMARY KEY (height),
  UNIQUE (tree_size)
);

CREATE TABLE sites (
  country TEXT NOT NULL,
  city TEXT NOT NULL,
  site_id TEXT NOT NULL,
  active BOOLEAN NOT NULL,
  site_key BLOB NOT NULL,
  indicators TEXT NOT NULL,
  equipment TEXT NOT NULL,
  height BIGINT NOT NULL,
  PRIMARY KEY (country, city, site_id)
);

CREATE TABLE platform_position (
  one INTEGER NOT NULL,
  next_offset BIGINT NOT NULL,
  published_height BIGINT NOT NULL,
  published_entry BIGINT NOT NULL,
  PRIMARY KEY (one)
);

CREATE TABLE chain_state (
  part TEXT NOT NULL,
  "key" TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (part, "key")
);

CREATE TABLE chain_identity (
  one INTEGER NOT NULL,
  chain BLOB NOT NULL,
  PRIMARY KEY (one)
);

CREATE TABLE chain_head (
  one INTEGER NOT NULL,
  height BIGINT NOT NULL,
  block_hash BLOB NOT NULL,
  frontier BLOB NOT NULL,
  incarnation BIGINT NOT NULL,
  next_offset BIGINT NOT NULL,
  period_start BIGINT NOT NULL,
  part BIGINT NOT NULL,
  chain_bytes BIGINT NOT NULL,
  PRIMARY KEY (one)
);
