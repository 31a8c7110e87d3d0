//! Certificates and members that change while peers are connected.

use bravo_api::certs;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use quinn::RecvStream;
use tokio::sync::Notify;
use tokio_stream::wrappers::ReceiverStream;

use super::*;
use crate::raft::types::GroupId;
use crate::raft::types::alias::{AppendRequest, StreamAppendResult};
use crate::transport::wire::{Control, ControlAnswer};

/// A node that is only there to be connected to, until the other one is removed.
#[derive(Default)]
struct Deaf(Notify);

impl Service for Deaf {
    fn knows(&self, _: NodeId) -> bool {
        true
    }

    fn removed(self: Arc<Self>, _: NodeId) -> BoxFuture<'static, ()> {
        async move { self.0.notified().await }.boxed()
    }

    fn control(self: Arc<Self>, _: NodeId, _: Control) -> BoxFuture<'static, ControlAnswer> {
        std::future::pending().boxed()
    }

    fn request(self: Arc<Self>, _: NodeId, _: Request) -> BoxFuture<'static, Response> {
        std::future::pending().boxed()
    }

    fn leader_time(&self, _: GroupId, _: bravo_model::Time) {}

    fn appends(
        &self,
        _: GroupId,
        _: ReceiverStream<AppendRequest>,
    ) -> Option<BoxStream<'static, Result<StreamAppendResult, String>>> {
        None
    }

    fn snapshot(self: Arc<Self>, _: GroupId, _: RecvStream) -> BoxFuture<'static, anyhow::Result<Bytes>> {
        std::future::pending().boxed()
    }
}

/// Certificates of nodes 1 and 2, of a CA of their own.
fn certificates() -> [PeerTls; 2] {
    let dir = tempfile::tempdir().unwrap();
    let ca = certs::init_ca(dir.path()).unwrap().cert;
    [1, 2].map(|id| {
        let files = certs::node_cert(dir.path(), id, &["127.0.0.1".into()]).unwrap();
        PeerTls::load(&ca, &files.cert, &files.key).unwrap()
    })
}

#[tokio::test]
async fn new_connections_use_new_certificates_and_those_that_are_open_go_on() {
    let (old, new) = (certificates(), certificates());
    let local: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let (server, client) = (Transport::bind(local, &old[0]).unwrap(), Transport::bind(local, &old[1]).unwrap());
    let address = server.endpoint.local_addr().unwrap().to_string();
    let tasks = Tasks::default();
    tasks.spawn(server.clone().serve(Arc::new(Deaf::default()), tasks.clone()));
    let peer = client.peer(1, &address);
    let open = peer.connection().await.unwrap();

    server.renew(&new[0]);
    let stranger = || Peer::stranger(address.clone(), client.endpoint.clone(), client.client.clone());
    assert!(stranger().connection().await.is_err(), "who knows the old CA only is not connected any more");
    assert!(open.close_reason().is_none() && open.open_bi().await.is_ok(), "what is open goes on");

    client.renew(&new[1]);
    assert!(stranger().connection().await.is_ok());
    open.close(0_u32.into(), b"again");
    assert!(peer.connection().await.is_ok(), "a handle from before dials with what is new");
    tasks.stop().await;
}

#[tokio::test]
async fn a_node_that_is_removed_loses_the_streams_that_it_had_open() {
    let certificates = certificates();
    let local: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let (server, client) =
        (Transport::bind(local, &certificates[0]).unwrap(), Transport::bind(local, &certificates[1]).unwrap());
    let address = server.endpoint.local_addr().unwrap().to_string();
    let (tasks, deaf) = (Tasks::default(), Arc::new(Deaf::default()));
    tasks.spawn(server.clone().serve(deaf.clone(), tasks.clone()));
    let peer = client.peer(1, &address);
    let calling = {
        let peer = peer.clone();
        tokio::spawn(async move { peer.request(&Request::Status).await })
    };
    let open = peer.connection().await.unwrap();
    assert!(open.close_reason().is_none());
    deaf.0.notify_one();
    assert!(calling.await.unwrap().is_err(), "what was asked on an open stream is not answered");
    open.closed().await;
    tasks.stop().await;
}
