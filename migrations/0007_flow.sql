-- Batches over time: when something last happened in one, that it was reclaimed, and its project's end.

ALTER TABLE assignments
    -- The last event that was heard of it, or its making: what "idle" is counted from.
    ADD COLUMN active_at timestamptz NOT NULL DEFAULT now(),
    -- When it was taken back because nothing happened for too long.
    ADD COLUMN reclaimed_at timestamptz,
    -- When its project was removed from Label Studio, its answers being safe here.
    ADD COLUMN closed_at timestamptz,
    -- Up to which change, by Label Studio's clock, its project has been compared with what we hold.
    ADD COLUMN compared_until timestamptz;
