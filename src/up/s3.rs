//! An S3 endpoint inside our own process, its objects as files under a folder of ours (`s3s-fs`).
//!
//! For one machine and for tests; in production S3 is a service of its own. What differs from Amazon's: every page
//! of a listing walks the whole bucket, a key can't be a prefix of another at a slash (one is a file, the other
//! a folder), and a key longer than about 150 bytes is refused (its metadata's file name would be too long).

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use anyhow::Context;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use s3s::{auth::SimpleAuth, service::S3ServiceBuilder};
use s3s_fs::FileSystem;
use tokio::{net::TcpListener, task::JoinHandle};

use crate::config::{S3Config, Secret};

/// Runs until it is dropped.
#[derive(Debug)]
pub struct S3Server {
    config: S3Config,
    task: JoinHandle<()>,
}

#[derive(Debug, Clone)]
pub struct S3Options {
    pub dir: PathBuf,
    pub port: u16,
    pub bucket: String,
    pub access_key_id: String,
    pub secret_access_key: Secret,
}

impl S3Server {
    /// Listens on 127.0.0.1; the bucket exists when this returns.
    pub async fn start(options: S3Options) -> anyhow::Result<Self> {
        fs::create_dir_all(bucket_dir(&options))
            .with_context(|| format!("make the bucket {}", bucket_dir(&options).display()))?;
        let files = FileSystem::new(&options.dir)
            .map_err(|error| anyhow::anyhow!("open {} as S3: {error:?}", options.dir.display()))?;
        let mut service = S3ServiceBuilder::new(files);
        service.set_auth(SimpleAuth::from_single(
            options.access_key_id.clone(),
            options.secret_access_key.expose().to_owned(),
        ));
        let service = service.build();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port))
            .await
            .with_context(|| format!("listen on port {} for S3", options.port))?;
        let config = S3Config {
            endpoint: Some(format!("http://127.0.0.1:{}", listener.local_addr()?.port())),
            region: "us-east-1".into(),
            bucket: options.bucket,
            access_key_id: Secret::new(options.access_key_id),
            secret_access_key: options.secret_access_key,
        };
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                match listener.accept().await {
                    Ok((socket, _)) => {
                        let service = service.clone();
                        connections.spawn(async move {
                            let http = auto::Builder::new(TokioExecutor::new());
                            // A client that went away in the middle: nothing that we could do about it.
                            let _ = http.serve_connection(TokioIo::new(socket), service).await;
                        });
                    }
                    // Out of file descriptors, most likely: some are given back soon.
                    Err(error) => {
                        tracing::warn!(error = format!("{error:#}"), "S3: can't accept a connection");
                        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                    }
                }
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { config, task })
    }

    /// How clients reach it.
    pub fn config(&self) -> &S3Config {
        &self.config
    }
}

impl Drop for S3Server {
    /// Ends the connections with it.
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn bucket_dir(options: &S3Options) -> PathBuf {
    Path::new(&options.dir).join(&options.bucket)
}
