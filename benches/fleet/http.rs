//! Load over HTTP/1.1 by a client that costs next to nothing: it shares the machine with what it measures.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::{Instant, sleep_until},
};

use crate::report::percentile;

/// A connection that is kept open.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub async fn open(address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(4096) })
    }

    /// Sends a whole request and reads its whole answer; returns the status.
    pub async fn send(&mut self, request: &[u8]) -> io::Result<u16> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(status) = answered(&self.buffer)? {
                return Ok(status);
            }
        }
    }
}

/// The status of an answer, once it is there with all of its body (by `Content-Length`).
fn answered(bytes: &[u8]) -> io::Result<Option<u16>> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let bad = || io::Error::new(io::ErrorKind::InvalidData, "an answer that this client can't read");
    let (head, rest) = bytes.split_at(end);
    let head = std::str::from_utf8(head).map_err(|_| bad())?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(bad)?;
    let length: usize = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok())
        .ok_or_else(bad)?;
    Ok((rest.len() - 4 >= length).then_some(status))
}

/// Where the requests of a load come from; none: there are no more.
pub type Source = Arc<dyn Fn() -> Option<Vec<u8>> + Send + Sync>;

pub struct Outcome {
    pub elapsed: Duration,
    /// Of each answer, sorted.
    latencies: Vec<Duration>,
    pub statuses: BTreeMap<u16, usize>,
}

impl Outcome {
    pub fn answers(&self) -> usize {
        self.latencies.len()
    }

    pub fn rate(&self) -> f64 {
        self.answers() as f64 / self.elapsed.as_secs_f64()
    }

    pub fn percentile(&self, percent: usize) -> Duration {
        percentile(&self.latencies, percent)
    }
}

/// Each connection asks again as soon as it was answered: the most that the server does.
pub async fn closed(
    address: &str,
    connections: usize,
    duration: Duration,
    source: &Source,
) -> anyhow::Result<Outcome> {
    let end = Instant::now() + duration;
    run(address, connections, source, move || {
        let now = Instant::now();
        (now < end).then_some(now)
    })
    .await
}

/// Requests come at their own times whether the server keeps up or not, as from many people: latency counts from
/// the time at which a request was due.
pub async fn open(
    address: &str,
    connections: usize,
    rate: f64,
    duration: Duration,
    source: &Source,
) -> anyhow::Result<Outcome> {
    let start = Instant::now() + Duration::from_millis(10);
    let (count, sent) = ((rate * duration.as_secs_f64()) as usize, AtomicUsize::new(0));
    run(address, connections, source, move || {
        let number = sent.fetch_add(1, Ordering::Relaxed);
        (number < count).then(|| start + Duration::from_secs_f64(number as f64 / rate))
    })
    .await
}

/// Sends from `connections` until `due`, which says when the next request is due, or `source` has no more.
async fn run(
    address: &str,
    connections: usize,
    source: &Source,
    due: impl Fn() -> Option<Instant> + Send + Sync + 'static,
) -> anyhow::Result<Outcome> {
    let due = Arc::new(due);
    let gathered = Arc::new(Mutex::new((Vec::new(), BTreeMap::new())));
    let mut senders = JoinSet::new();
    let mut opened = Vec::new();
    for _ in 0..connections {
        opened.push(Connection::open(address).await?);
    }
    let start = Instant::now();
    for mut connection in opened {
        let (due, source, gathered) = (due.clone(), source.clone(), gathered.clone());
        senders.spawn(async move {
            let mut latencies = Vec::new();
            let mut statuses = BTreeMap::<u16, usize>::new();
            while let Some(at) = due() {
                let Some(request) = source() else { break };
                sleep_until(at).await;
                let status = connection.send(&request).await?;
                latencies.push(at.elapsed());
                *statuses.entry(status).or_default() += 1;
            }
            let mut gathered = gathered.lock().map_err(|_| io::Error::other("another sender panicked"))?;
            gathered.0.extend(latencies);
            for (status, count) in statuses {
                *gathered.1.entry(status).or_default() += count;
            }
            Ok::<_, io::Error>(())
        });
    }
    while let Some(sender) = senders.join_next().await {
        sender?.context("send a request")?;
    }
    let elapsed = start.elapsed();
    let mut gathered = gathered.lock().map_err(|_| anyhow::anyhow!("a sender panicked"))?;
    let (mut latencies, statuses) = std::mem::take(&mut *gathered);
    latencies.sort_unstable();
    Ok(Outcome { elapsed, latencies, statuses })
}
