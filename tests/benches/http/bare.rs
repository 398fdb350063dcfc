//! Bare handlers, which only return what rl-server answers: what axum and tokio cost. Each is this program, started again.

use std::env;
use std::future::pending;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;

use axum::Router;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::routing::get;
use axum::serve::{Listener, ListenerExt};
use rl_tests::{Answer, Process};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use crate::target::Target;

/// The first argument of this program when it is to serve. The others are the shape, the body and the header lines.
const SERVE: &str = "serve-bare";

/// As axum's documentation shows it: the runtime of `#[tokio::main]`.
pub(crate) fn multi_threaded(answer: &Answer) -> Option<Target> {
    start("multi-threaded", answer)
}

/// One acceptor and a single-threaded runtime for each core, to which the connections go in turn.
pub(crate) fn runtime_per_core(answer: &Answer) -> Option<Target> {
    start("runtime-per-core", answer)
}

fn start(shape: &str, answer: &Answer) -> Option<Target> {
    let mut child = Command::new(env::current_exe().expect("this program"))
        .args([SERVE, shape, &answer.body])
        .args(&answer.headers)
        .stdout(Stdio::piped())
        .spawn()
        .expect("this program starts again");
    let address = first_line(&mut child);
    let process = Process::from(child);
    let ids = vec![process.id()];
    Some(Target::new(format!("http://{address}/token"), ids, process))
}

fn first_line(child: &mut Child) -> String {
    let mut line = String::new();
    let output = child.stdout.take().expect("it is piped");
    BufReader::new(output)
        .read_line(&mut line)
        .expect("its address");
    line.trim_end().to_owned()
}

/// The arguments after [`SERVE`], if this program is to serve.
pub(crate) fn asked() -> Option<Vec<String>> {
    let mut words = env::args().skip(1);
    (words.next()? == SERVE).then(|| words.collect())
}

/// Prints the address and serves until it is killed.
pub(crate) fn serve(words: &[String]) -> ! {
    let [shape, body, headers @ ..] = words else {
        panic!("a shape, a body and header lines: {words:?}");
    };
    let routes = routes(body, headers);
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    println!("{}", listener.local_addr().expect("an address"));
    match shape.as_str() {
        "multi-threaded" => serve_multi_threaded(listener, routes),
        "runtime-per-core" => serve_on_runtimes(&listener, &routes),
        _ => panic!("no shape: {shape}"),
    }
}

fn routes(body: &str, headers: &[String]) -> Router {
    let header = |line: &String| {
        let (name, value) = line.split_once(": ").expect("a header's form");
        let name = HeaderName::try_from(name).expect("a name");
        (name, HeaderValue::try_from(value).expect("a value"))
    };
    let answer = (
        HeaderMap::from_iter(headers.iter().map(header)),
        body.to_owned(),
    );
    let handler = move || {
        let answer = answer.clone();
        async { answer }
    };
    Router::new().route("/token", get(handler))
}

fn serve_multi_threaded(listener: std::net::TcpListener, routes: Router) -> ! {
    listener.set_nonblocking(true).expect("an option");
    let serve = async {
        let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
        let listener =
            listener.tap_io(|stream| stream.set_nodelay(true).expect("an option of TCP"));
        axum::serve(listener, routes).await
    };
    let served = Runtime::new().expect("threads").block_on(serve);
    panic!("it serves until it is killed: {served:?}");
}

type Connection = (TcpStream, SocketAddr);

fn serve_on_runtimes(listener: &std::net::TcpListener, routes: &Router) -> ! {
    let cores = thread::available_parallelism().expect("a number of cores");
    let runtimes: Vec<_> = (0..cores.get())
        .map(|_| start_runtime(routes.clone()))
        .collect();
    let mut next = runtimes.iter().cycle();
    loop {
        let connection = listener.accept().expect("a connection");
        let runtime = next.next().expect("a core");
        runtime.send(connection).expect("the runtime serves");
    }
}

/// Starts a runtime on a thread of its own. It serves the connections that are sent to it.
fn start_runtime(routes: Router) -> UnboundedSender<Connection> {
    let (sender, connections) = mpsc::unbounded_channel();
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    thread::spawn(move || {
        runtime.block_on(axum::serve(Accepted(connections), routes).into_future())
    });
    sender
}

/// The connections that the acceptor sends to one runtime.
struct Accepted(UnboundedReceiver<Connection>);

impl Listener for Accepted {
    type Io = tokio::net::TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let Some((stream, peer)) = self.0.recv().await else {
            return pending().await;
        };
        stream.set_nodelay(true).expect("an option of TCP");
        stream.set_nonblocking(true).expect("an option");
        let stream = tokio::net::TcpStream::from_std(stream);
        (stream.expect("a stream of this runtime"), peer)
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        Err(std::io::ErrorKind::Unsupported.into())
    }
}
