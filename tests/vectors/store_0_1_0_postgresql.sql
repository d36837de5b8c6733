-- The platform's store as release 0.1.0 made it.
CREATE TABLE kpi_records (
  tracing_code TEXT NOT NULL,
  height BIGINT NOT NULL,
  entry BIGINT NOT NULL,
  data_offset BIGINT NOT NULL,
  data_length BIGINT NOT NULL,
  block_offset BIGINT NOT NULL,
  block_length BIGINT NOT NULL,
  city_data BYTEA NOT NULL,
  chain_id TEXT NOT NULL,
  check_code BYTEA NOT NULL,
  country TEXT NOT NULL,
  city TEXT NOT NULL,
  site_id TEXT NOT NULL,
  module_id TEXT NOT NULL,
  sequence BIGINT NOT NULL,
  packet_id BYTEA NOT NULL,
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

COMMENT ON TABLE kpi_records IS 'Y.4907 Table 10-3, one row per packet';

COMMENT ON COLUMN kpi_records.tracing_code IS 'locates the packet: chain, height, entry';

COMMENT ON COLUMN kpi_records.city_data IS 'the packet, exactly as the site sent it';

COMMENT ON COLUMN kpi_records.check_code IS 'leaf hash of the packet';

COMMENT ON COLUMN kpi_records.admitted IS 'broker time of admission';

COMMENT ON COLUMN kpi_records.status IS 'ok, mismatch or unopened';

COMMENT ON COLUMN kpi_records.reason IS 'empty where status is ok';

CREATE TABLE observations (
  tracing_code TEXT NOT NULL,
  record INTEGER NOT NULL,
  number INTEGER NOT NULL,
  time BIGINT NOT NULL,
  indicator TEXT NOT NULL,
  data_point TEXT NOT NULL,
  exact TEXT NOT NULL,
  value DOUBLE PRECISION NOT NULL,
  unit TEXT NOT NULL,
  sensor TEXT NOT NULL,
  quality SMALLINT NOT NULL,
  source TEXT NOT NULL,
  country TEXT NOT NULL,
  city TEXT NOT NULL,
  site_id TEXT NOT NULL,
  PRIMARY KEY (tracing_code, record, number)
);

COMMENT ON TABLE observations IS 'One row per indicator value, in clear';

COMMENT ON COLUMN observations.record IS 'index of the unified record in the packet';

COMMENT ON COLUMN observations.number IS 'index of the value in the record';

COMMENT ON COLUMN observations.exact IS 'decimal; its decimal places are the record''s scale';

COMMENT ON COLUMN observations.value IS 'for arithmetic';

COMMENT ON COLUMN observations.site_id IS 'of the record: the site, or equipment granted to it';

CREATE TABLE openings (
  tracing_code TEXT NOT NULL,
  seed BYTEA NOT NULL,
  PRIMARY KEY (tracing_code)
);

COMMENT ON TABLE openings IS 'What with the observations gives the digest that the site signed';

COMMENT ON COLUMN openings.seed IS 'of the salts under the packet''s digest';

CREATE TABLE blocks (
  height BIGINT NOT NULL,
  hash BYTEA NOT NULL,
  first_index BIGINT NOT NULL,
  tree_size BIGINT NOT NULL,
  root BYTEA NOT NULL,
  period_start BIGINT NOT NULL,
  period_end BIGINT NOT NULL,
  part BIGINT NOT NULL,
  entries BIGINT NOT NULL,
  block_offset BIGINT NOT NULL,
  block_length BIGINT NOT NULL,
  certificate BYTEA NOT NULL,
  certified_first BIGINT NOT NULL,
  kafka_offset BIGINT NOT NULL,
  PRIMARY KEY (height),
  UNIQUE (tree_size)
);

COMMENT ON TABLE blocks IS 'One row per certified block';

COMMENT ON COLUMN blocks.root IS 'of the tree after the block';

COMMENT ON COLUMN blocks.certified_first IS 'earliest cosignature, in seconds';

CREATE TABLE sites (
  country TEXT NOT NULL,
  city TEXT NOT NULL,
  site_id TEXT NOT NULL,
  active BOOLEAN NOT NULL,
  site_key BYTEA NOT NULL,
  indicators TEXT NOT NULL,
  equipment TEXT NOT NULL,
  height BIGINT NOT NULL,
  PRIMARY KEY (country, city, site_id)
);

COMMENT ON TABLE sites IS 'Registry of sampling sites after the last block';

COMMENT ON COLUMN sites.indicators IS 'JSON list of granted indicators';

COMMENT ON COLUMN sites.equipment IS 'JSON list of granted equipment, IP addresses';

COMMENT ON COLUMN sites.height IS 'block of the last change';

CREATE TABLE platform_position (
  one INTEGER NOT NULL,
  next_offset BIGINT NOT NULL,
  published_height BIGINT NOT NULL,
  published_entry BIGINT NOT NULL,
  PRIMARY KEY (one)
);

COMMENT ON COLUMN platform_position.next_offset IS 'of the blocks topic';

COMMENT ON COLUMN platform_position.published_height IS 'last packet whose observations were sent';

CREATE TABLE chain_state (
  part TEXT NOT NULL,
  key TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (part, key)
);

CREATE TABLE chain_identity (
  one SERIAL NOT NULL,
  chain BYTEA NOT NULL,
  PRIMARY KEY (one)
);

CREATE TABLE chain_head (
  one SERIAL NOT NULL,
  height BIGINT NOT NULL,
  block_hash BYTEA NOT NULL,
  frontier BYTEA NOT NULL,
  incarnation BIGINT NOT NULL,
  next_offset BIGINT NOT NULL,
  period_start BIGINT NOT NULL,
  part BIGINT NOT NULL,
  chain_bytes BIGINT NOT NULL,
  PRIMARY KEY (one)
);
