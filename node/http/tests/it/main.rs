//! The local API from outside: what goes in at [`hive_http::Remote`] comes out at a `Hive`, and
//! nobody else gets in.

#![expect(clippy::unwrap_used, reason = "a test")]

mod document;
mod download;
mod fake;
mod hostile;
mod http;
mod lifecycle;
mod logs;
mod matrix;
mod networks;
mod openai;
mod raw;
mod round_trip;
mod scrape;
mod watching;

use std::net::SocketAddr;
use std::sync::Arc;

use fake::Fake;
use hive_http::{Options, Remote, Server, Token};
use tempfile::TempDir;

/// A served node and its home.
struct Served {
    home: TempDir,
    hive: Arc<Fake>,
    server: Server,
}

impl Served {
    async fn start() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut Options)) -> Self {
        let home = tempfile::tempdir().unwrap();
        let hive = Arc::new(Fake::default());
        let mut options = Options::new(home.path(), SocketAddr::from(([127, 0, 0, 1], 0)));
        change(&mut options);
        let server = Server::start(options, Arc::<Fake>::clone(&hive)).await.unwrap();
        Self { home, hive, server }
    }

    async fn remote(&self) -> Remote {
        Remote::discover(self.home.path()).await.unwrap().expect("a node runs")
    }

    fn token(&self) -> String {
        Token::load(self.home.path()).unwrap().unwrap().secret().to_owned()
    }

    fn port(&self) -> u16 {
        self.server.address().port()
    }
}
