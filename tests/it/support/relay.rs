//! A TCP relay before a server: it gives the server another address, and can cut a client off at a chosen moment, or be
//! silent for a while as a network is that has lost its way.

use std::sync::{Arc, Mutex};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{oneshot, watch},
    task::JoinHandle,
};

pub struct Relay {
    pub port: u16,
    trap: Arc<Mutex<Option<Trap>>>,
    is_silent: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// What to wait for, and whom to tell.
struct Trap {
    request: Vec<u8>,
    sprung: oneshot::Sender<()>,
}

impl Relay {
    pub async fn start(host: &str, target: &str) -> Self {
        let listener = TcpListener::bind((host, 0)).await.expect("a port is free");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let trap: Arc<Mutex<Option<Trap>>> = Arc::default();
        let (target, traps) = (target.to_owned(), trap.clone());
        let (is_silent, silence) = watch::channel(false);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (target, traps, silence) = (target.clone(), traps.clone(), silence.clone());
                tokio::spawn(async move {
                    if let Ok(server) = TcpStream::connect(&target).await {
                        relay(client, server, &traps, silence).await;
                    }
                });
            }
        });
        Self { port, trap, is_silent, task }
    }

    /// From now on nothing goes either way, and no connection breaks, until it is told otherwise.
    pub fn be_silent(&self, is_silent: bool) {
        self.is_silent.send_replace(is_silent);
    }

    /// Ends when the server has answered the next request that contains `request`, whose answer no client gets.
    pub fn hold_answer_to(&self, request: &str) -> oneshot::Receiver<()> {
        let (sprung, receiver) = oneshot::channel();
        *self.trap.lock().expect("no holder panics") =
            Some(Trap { request: request.as_bytes().to_vec(), sprung });
        receiver
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn relay(
    mut client: TcpStream,
    mut server: TcpStream,
    traps: &Mutex<Option<Trap>>,
    mut silence: watch::Receiver<bool>,
) {
    let (mut from_client, mut from_server) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    let mut held: Option<Trap> = None;
    loop {
        tokio::select! {
            read = client.read(&mut from_client) => match read {
                Ok(bytes) if bytes > 0 => {
                    let _ = silence.wait_for(|is_silent| !is_silent).await;
                    let sent = &from_client[..bytes];
                    if let Some(trap) = sprung_by(traps, sent) {
                        held = Some(trap);
                    }
                    if server.write_all(sent).await.is_err() {
                        return;
                    }
                }
                _ => return,
            },
            read = server.read(&mut from_server) => match read {
                Ok(bytes) if bytes > 0 => {
                    let _ = silence.wait_for(|is_silent| !is_silent).await;
                    if let Some(trap) = held.take() {
                        let _ = trap.sprung.send(());
                        // Until the client goes away.
                        while client.read(&mut from_client).await.is_ok_and(|bytes| bytes > 0) {}
                        return;
                    }
                    if client.write_all(&from_server[..bytes]).await.is_err() {
                        return;
                    }
                }
                _ => return,
            },
        }
    }
}

fn sprung_by(traps: &Mutex<Option<Trap>>, sent: &[u8]) -> Option<Trap> {
    let mut trap = traps.lock().expect("no holder panics");
    let wanted = trap.as_ref()?.request.clone();
    if sent.windows(wanted.len()).any(|part| part == wanted) { trap.take() } else { None }
}
