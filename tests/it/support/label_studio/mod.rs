//! A Label Studio of our own for tests that need many, or one that misbehaves: stateful, in this process, on a port
//! of its own, speaking as much of the HTTP API of 1.23 as the fleet uses.
//!
//! - [`world`]: what it holds, and how it shows that
//! - [`api`]: the endpoints
//! - [`delivery`]: webhooks, inside the annotator's request, with a second's patience and no second try
//!
//! Shapes and habits are those of the real one (`labeling::conformance` holds both to the same answers): duplicate
//! titles are allowed, a page past the end is 404, a skip is a creation with `was_cancelled`, a deletion is plural
//! and names no task, a task's `updated_at` moves with its annotations.

mod api;
mod delivery;
mod runtime;
mod world;

use std::sync::{
    Arc, Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use labelfleet_jobs::label_studio::Client;
use tokio::{net::TcpListener, sync::oneshot};

use delivery::Delivery;
pub use delivery::Fate;
pub use runtime::Simulator;
pub use world::World;

pub struct LabelStudio {
    pub port: u16,
    pub token: String,
    shared: Arc<Shared>,
    /// Dropped, it ends the server.
    stop: Mutex<Option<oneshot::Sender<()>>>,
    is_deaf: AtomicBool,
}

/// What the endpoints reach.
struct Shared {
    token: String,
    world: Mutex<World>,
    plan: Mutex<Plan>,
    held: Mutex<Vec<Delivery>>,
    http: reqwest::Client,
    not_delivered: AtomicUsize,
    refuses: AtomicBool,
    hangs: AtomicBool,
    requests: AtomicUsize,
    traceparents: Mutex<Vec<String>>,
}

type Plan = Box<dyn FnMut(&str) -> Fate + Send>;

impl LabelStudio {
    /// Empty, and serving; this token opens it.
    pub async fn start(token: impl Into<String>) -> Self {
        let token = token.into();
        let shared = Shared {
            token: token.clone(),
            world: Mutex::default(),
            plan: Mutex::new(Box::new(|_| Fate::Deliver)),
            held: Mutex::default(),
            http: delivery::client(),
            not_delivered: AtomicUsize::new(0),
            refuses: AtomicBool::new(false),
            hangs: AtomicBool::new(false),
            requests: AtomicUsize::new(0),
            traceparents: Mutex::default(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(shared);
        let studio = Self { port, token, shared, stop: Mutex::default(), is_deaf: AtomicBool::new(false) };
        studio.serve(listener);
        studio
    }

    /// Starts it again where it was; what it held is there.
    pub async fn restart(&self) {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).await.unwrap();
        self.is_deaf.store(false, Ordering::SeqCst);
        self.serve(listener);
    }

    fn serve(&self, listener: TcpListener) {
        let (stop, stopped) = oneshot::channel();
        *self.stop.lock().unwrap() = Some(stop);
        let router = api::router(self.shared.clone());
        tokio::spawn(async move {
            tokio::select! {
                served = async { axum::serve(listener, router).await } => served.unwrap(),
                _ = stopped => {}
            }
        });
    }

    /// Nobody listens any more.
    pub fn stop(&self) {
        self.stop.lock().unwrap().take();
        self.is_deaf.store(false, Ordering::SeqCst);
    }

    /// It runs on, and nobody listens in it.
    pub fn deafen(&self) {
        self.stop();
        self.is_deaf.store(true, Ordering::SeqCst);
    }

    /// Whether it was started and not stopped since.
    pub fn is_running(&self) -> bool {
        self.stop.lock().unwrap().is_some() || self.is_deaf.load(Ordering::SeqCst)
    }

    pub fn client(&self) -> Client {
        Client::new(&format!("http://127.0.0.1:{}", self.port), self.token.clone()).unwrap()
    }

    /// What it holds, to look at and to change as nobody's request would: nothing is told by webhook.
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.shared.world.lock().unwrap()
    }

    /// What becomes of each webhook from now on, by its action.
    pub fn on_webhook(&self, plan: impl FnMut(&str) -> Fate + Send + 'static) {
        *self.shared.plan.lock().unwrap() = Box::new(plan);
    }

    /// Sends what was held back, in the order that `arrange` makes of it.
    pub async fn release(&self, arrange: impl FnOnce(&mut Vec<Delivery>)) {
        let mut held = std::mem::take(&mut *self.shared.held.lock().unwrap());
        arrange(&mut held);
        for delivery in &held {
            self.shared.send(delivery).await;
        }
    }

    /// Answers every request with 500, or no longer does.
    pub fn refuse(&self, refuses: bool) {
        self.shared.refuses.store(refuses, Ordering::SeqCst);
    }

    /// Takes requests from now on and answers none.
    pub fn hang(&self) {
        self.shared.hangs.store(true, Ordering::SeqCst);
    }

    /// How many requests it was asked so far.
    pub fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// Of the requests that came in a trace.
    pub fn traceparents(&self) -> Vec<String> {
        self.shared.traceparents.lock().unwrap().clone()
    }

    /// Webhooks that were sent and not answered with a success within a second.
    pub fn not_delivered(&self) -> usize {
        self.shared.not_delivered.load(Ordering::SeqCst)
    }
}
