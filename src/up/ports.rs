//! Ports that nobody listens on.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::Context;
use rand::RngExt;

/// Below the range that the kernel gives to outgoing connections, so a port that is free now isn't taken by
/// one of those before its server listens.
const RANGE: std::ops::Range<u16> = 20_000..32_000;

pub fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// A free port of 127.0.0.1, drawn at random so that two who ask at once hardly get the same.
pub fn free() -> anyhow::Result<u16> {
    let mut random = rand::rng();
    (0..1000)
        .map(|_| random.random_range(RANGE))
        .find(|port| is_free(*port))
        .with_context(|| format!("no free port in {RANGE:?}"))
}
