use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::demo::functions::Function;
use crate::demo::gateway::{self, Activity};

fn work(name: &str, weight: u32, query: &str) -> Work {
    Work {
        function: FunctionName::new(name).unwrap(),
        weight,
        query: query.into(),
        content_type: None,
        payload: Bytes::new(),
    }
}

fn load(targets: Vec<SocketAddr>, users: usize, requests: Option<u64>, work: Vec<Work>) -> Load {
    Load { targets, users, requests, work, seed: 7, call_wait: CALL_WAIT }
}

async fn start_gateway() -> (SocketAddr, Arc<Activity>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let options = gateway::Options::default();
    let activity = Arc::clone(&options.activity);
    tokio::spawn(gateway::serve(listener, options, std::future::pending()));
    (address, activity)
}

/// Answers every request head with `answer`, closing the connection if it is to be closed;
/// counts connections.
async fn start_server(answer: &'static str) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            count.fetch_add(1, Relaxed);
            tokio::spawn(async move {
                let mut bytes = [0; 4096];
                while let Ok(1..) = stream.read(&mut bytes).await {
                    let head = String::from_utf8_lossy(&bytes).to_lowercase();
                    assert!(head.contains("hopwise-explain: 1\r\n"), "{head}");
                    if stream.write_all(answer.as_bytes()).await.is_err()
                        || answer.contains("close")
                    {
                        break;
                    }
                }
            });
        }
    });
    (address, connections)
}

async fn finished(load: Load) -> Vec<Finished> {
    let (_go, stop) = watch::channel(false);
    let mut finished = Vec::new();
    run(load, stop, |call| finished.push(call)).await.unwrap();
    finished
}

#[tokio::test]
async fn as_many_calls_as_asked_are_spread_over_targets_and_functions() {
    let (first, first_activity) = start_gateway().await;
    let (second, second_activity) = start_gateway().await;
    let work = vec![work("echo", 3, ""), work("sleep", 1, "ms=0"), work("nothing", 0, "")];
    let calls = finished(load(vec![first, second], 4, Some(200), work)).await;
    assert_eq!(calls.len(), 200);
    assert!(calls.iter().all(|call| !call.failed()), "{calls:?}");
    let echoes = calls.iter().filter(|call| call.function.as_str() == "echo").count();
    assert!((125..=175).contains(&echoes), "{echoes} of 200 at three to one");
    for (target, activity) in [first_activity, second_activity].iter().enumerate() {
        let entered = calls.iter().filter(|call| call.target == target).count() as u64;
        assert!(entered > 0);
        assert_eq!(activity.calls(Function::Echo) + activity.calls(Function::Sleep), entered);
    }
}

#[test]
fn a_seed_repeats_the_sequence_of_functions() {
    let sequence = |seed| {
        let work = vec![work("echo", 1, ""), work("sleep", 1, "")];
        let load = Load { seed, ..load(vec![([127, 0, 0, 1], 1).into()], 1, Some(64), work) };
        let shared = Shared::new(load).unwrap();
        let names: Vec<_> =
            std::iter::from_fn(|| shared.next_kind()).map(|kind| kind.work.function).collect();
        assert_eq!(names.len(), 64);
        names
    };
    assert_eq!(sequence(1), sequence(1));
    assert_ne!(sequence(1), sequence(2));
}

#[tokio::test]
async fn what_a_sidecar_says_is_reported_and_connections_are_kept() {
    let (address, connections) = start_server(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nhopwise-node: edge1\r\n\
         hopwise-architecture: federated\r\nhopwise-hop: 1\r\n\r\nOK",
    )
    .await;
    let calls = finished(load(vec![address], 2, Some(20), vec![work("echo", 1, "")])).await;
    assert_eq!(calls.len(), 20);
    for call in calls {
        assert_eq!(call.result, Ok(StatusCode::OK));
        assert_eq!(call.node, NodeId::new("edge1").ok());
        assert_eq!(call.architecture, Some(Architecture::Federated));
        assert_eq!(call.hop, Some(1));
    }
    assert_eq!(connections.load(Relaxed), 2);
}

#[tokio::test]
async fn closed_connections_are_replaced_without_a_failure() {
    let (address, connections) = start_server(
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\nhopwise-hop: x\r\n\r\n",
    )
    .await;
    let calls = finished(load(vec![address], 1, Some(5), vec![work("echo", 1, "")])).await;
    assert!(calls.iter().all(|call| !call.failed() && call.hop.is_none()), "{calls:?}");
    assert_eq!(connections.load(Relaxed), 5);
}

#[tokio::test]
async fn failures_are_reported() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (gateway, _) = start_gateway().await;
    for (target, part) in [
        (closed, "cannot connect"),
        (silent.local_addr().unwrap(), "no answer within 50ms"),
        (gateway, "404"),
    ] {
        let load = load(vec![target], 1, Some(2), vec![work("nothing", 1, "")]);
        let call_wait =
            if part.starts_with("no answer") { Duration::from_millis(50) } else { CALL_WAIT };
        let calls = finished(Load { call_wait, ..load }).await;
        assert_eq!(calls.len(), 2);
        for call in calls {
            assert!(call.failed());
            assert!(format!("{:?}", call.result).contains(part), "{:?}", call.result);
        }
    }
}

#[tokio::test]
async fn a_stop_ends_it_soon() {
    let (address, activity) = start_gateway().await;
    // Four users, two of whom are always waiting for a core.
    let load = load(vec![address], 4, None, vec![work("sleep", 1, "ms=10")]);
    let (go, stop) = watch::channel(false);
    let mut count = 0;
    let ended = run(load, stop, |call| {
        assert!(!call.failed(), "{call:?}");
        count += 1;
        if count == 10 {
            go.send(true).unwrap();
        }
    });
    tokio::time::timeout(CALL_WAIT, ended).await.unwrap().unwrap();
    assert!((10..=100).contains(&count), "those under way were let finish: {count}");
    assert_eq!(activity.calls(Function::Sleep), count);
}

#[tokio::test]
async fn loads_that_cannot_be_made() {
    let target: SocketAddr = ([127, 0, 0, 1], 1).into();
    let echo = || vec![work("echo", 1, "")];
    for (load, error) in [
        (load(vec![], 1, None, echo()), LoadError::NoTargets),
        (load(vec![target], 0, None, echo()), LoadError::Users(0)),
        (load(vec![target], USERS_MAX + 1, None, echo()), LoadError::Users(USERS_MAX + 1)),
        (load(vec![target], 1, None, vec![work("echo", 0, "")]), LoadError::NoWork),
        (load(vec![target], 1, None, vec![work("a", 1, "a b")]), LoadError::Query("a b".into())),
    ] {
        let (_go, stop) = watch::channel(false);
        assert_eq!(run(load, stop, |_| {}).await, Err(error));
    }
}
