//! The data path.

mod accept;
pub mod admit;
pub mod answer;
mod attempts;
mod begin;
pub(crate) mod call;
pub(crate) mod call_field;
pub mod client;
mod client_io;
mod connect;
pub(crate) mod decision;
pub mod dispatch;
mod drain;
mod exchange;
mod executor;
pub(crate) mod explain;
mod failure;
mod flags;
mod future;
pub mod headers;
mod hedge;
mod host;
mod in_place;
mod io;
pub mod listener;
mod load_field;
pub mod measure;
mod names;
pub(crate) mod outbound;
mod parts;
mod patience;
pub(crate) mod peer;
mod pending;
mod platform;
mod probe;
mod queue;
mod report;
pub mod request_body;
pub mod response_body;
mod saved;
pub mod signature;
mod spans;
mod split;
mod sweep;
mod timing;
mod tls;
mod told;
mod trail;
mod tunnel;
mod upstream;
mod watch;

use std::convert::Infallible;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;
use tower::{Service, ServiceBuilder, service_fn};

use crate::state::State;

use admit::{Admit, Admitted};
use client::Client;
pub use dispatch::Context;
use measure::Measure;
use response_body::ResponseBody;
use split::OwnPaths;
use upstream::Upstreams;

/// Everything a request passes, in its order. `api` answers our own paths.
pub fn stack<A>(
    context: &Rc<Context>,
    client: Client,
    api: A,
) -> impl Service<
    Request<Incoming>,
    Response = Response<ResponseBody>,
    Error = Infallible,
    Future: 'static,
> + Clone
+ use<A>
where
    A: Service<Admitted, Response = Response<ResponseBody>, Error = Infallible> + Clone + 'static,
{
    let state = &context.state;
    let context = Rc::clone(context);
    ServiceBuilder::new()
        // Follows every request, and counts its answer, whoever gives it; while draining, makes it its connection's last.
        .layer(Measure { client: client.clone() })
        // Refuses what must not go on; finds out who calls, and for what.
        .layer(Admit { state: Arc::clone(state), client })
        // Answers our own paths.
        .layer(OwnPaths { api })
        // Decides, sends, reports back; passes the rest to the gateway.
        .service(service_fn(move |admitted| dispatch::serve(Rc::clone(&context), admitted)))
}

impl Context {
    /// The context of one worker thread.
    pub fn new(state: Arc<State>) -> Rc<Self> {
        let upstreams = Upstreams::new(Arc::clone(&state));
        let call_peers_from = source_address(&state);
        let (tunnels, watch, scratch, stream) = Default::default();
        Rc::new(Self { state, upstreams, call_peers_from, tunnels, watch, scratch, stream })
    }
}

/// This node's own address, where it is one of this host: without key and certificate, peers know it
/// by that.
fn source_address(state: &State) -> Option<IpAddr> {
    let snapshot = state.snapshot();
    let own: IpAddr = snapshot.site.node().address.host.parse().ok()?;
    let vouches = snapshot.peer_key.is_none() && snapshot.tls.peers.is_none();
    let usable = vouches && std::net::TcpListener::bind((own, 0)).is_ok();
    usable.then_some(own)
}
