//! A TCP relay before a server: it gives the server another address, and can cut a client off at a chosen moment.

use std::sync::{Arc, Mutex};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
};

pub struct Relay {
    pub port: u16,
    trap: Arc<Mutex<Option<Trap>>>,
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
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (target, traps) = (target.clone(), traps.clone());
                tokio::spawn(async move {
                    if let Ok(server) = TcpStream::connect(&target).await {
                        relay(client, server, &traps).await;
                    }
                });
            }
        });
        Self { port, trap, task }
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

async fn relay(mut client: TcpStream, mut server: TcpStream, traps: &Mutex<Option<Trap>>) {
    let (mut from_client, mut from_server) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    let mut held: Option<Trap> = None;
    loop {
        tokio::select! {
            read = client.read(&mut from_client) => match read {
                Ok(bytes) if bytes > 0 => {
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
