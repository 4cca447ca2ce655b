//! Ports that nobody listens on.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use anyhow::Context;
use rand::RngExt;

/// Below the range that the kernel gives to outgoing connections, so a port that is free now isn't taken by
/// one of those before its server listens.
const RANGE: std::ops::Range<u16> = 20_000..32_000;

/// A port of 127.0.0.1, kept from everybody else who asks here until this value is dropped or its process ends.
///
/// Between the drawing and the listening lies the start of a server, long enough for another process to draw the
/// same. So the port's UDP twin is held, which is in no server's way.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _twin: UdpSocket,
}

impl Port {
    /// None: somebody keeps it or listens there.
    pub fn keep(number: u16) -> Option<Self> {
        let twin = UdpSocket::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
        TcpListener::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
        Some(Self { number, _twin: twin })
    }

    /// One that is free, drawn at random.
    pub fn free() -> anyhow::Result<Self> {
        let mut random = rand::rng();
        (0..1000)
            .find_map(|_| Self::keep(random.random_range(RANGE)))
            .with_context(|| format!("no free port in {RANGE:?}"))
    }

    pub fn number(&self) -> u16 {
        self.number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_kept_until_it_is_given_back() {
        let port = Port::free().unwrap();
        let number = port.number();
        assert!(Port::keep(number).is_none(), "kept by two");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, number)).expect("its owner can listen");
        drop(port);
        assert!(Port::keep(number).is_none(), "somebody listens");
        drop(listener);
        assert!(Port::keep(number).is_some());
    }
}
