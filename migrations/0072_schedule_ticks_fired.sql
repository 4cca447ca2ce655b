-- A tick that is made up for late is kept for as long as any other.
ALTER TABLE schedule_ticks ADD COLUMN fired_at timestamptz NOT NULL DEFAULT now();
