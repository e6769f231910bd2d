//! What the gateways run: `basic` needs a core for a while; `data_local` fetches a picture first,
//! from the store at one of the nodes, and then needs a core as long.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::ensure;
use hopwise::demo::functions::{Function, Input};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use rand::Rng;
use rand_distr::{Distribution, LogNormal};
use rand_pcg::Pcg64;

use crate::client::Client;
use crate::processor::Processor;

/// Bytes of the picture in the store: no larger than a photo for a page.
pub(crate) const PICTURE_BYTES: usize = 100_000;
/// As many multiplications as one of two matrices with 1024 rows has.
const MATRICES: u64 = 8;
const FETCH_WAIT: Duration = Duration::from_secs(20);

/// A function of the experiment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Basic,
    DataLocal,
    /// Answers at once, to see that the way works.
    Echo,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Basic, Self::DataLocal, Self::Echo];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Basic => "basic",
            Self::DataLocal => "data_local",
            Self::Echo => "echo",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// How much of a core invocations need.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Demands {
    pub(crate) seed: u64,
    pub(crate) mean_s: f64,
    pub(crate) sigma: f64,
}

impl Demands {
    /// The same for the same number at every node, so that all policies have the same to do.
    pub(crate) fn of(&self, number: u64) -> Duration {
        let mut rng = Pcg64::new(u128::from(number), u128::from(self.seed));
        let mu = self.mean_s.ln() - self.sigma * self.sigma / 2.0;
        let drawn = LogNormal::new(mu, self.sigma).map_or(self.mean_s, |d| d.sample(&mut rng));
        Duration::from_secs_f64(drawn)
    }
}

/// Runs them, by timers or for real.
pub(crate) struct Functions {
    pub(crate) processor: Processor,
    pub(crate) demands: Demands,
    pub(crate) compute: bool,
    pub(crate) store: Client,
}

impl Functions {
    /// What it answers.
    pub(crate) async fn run(&self, kind: Kind, number: u64) -> anyhow::Result<Bytes> {
        let picture = match kind {
            Kind::Echo => return Ok(Bytes::from_static(b"here\n")),
            Kind::Basic => Bytes::new(),
            Kind::DataLocal => self.fetch().await?,
        };
        if self.compute {
            return tokio::task::spawn_blocking(move || compute(kind, picture)).await?;
        }
        let demand = self.demands.of(number);
        self.processor.serve(demand).await;
        Ok(Bytes::from(format!(
            "{} took {:.3} ms of a core\n",
            kind.as_str(),
            demand.as_secs_f64() * 1e3
        )))
    }

    async fn fetch(&self) -> anyhow::Result<Bytes> {
        let ask = async || {
            let request = Request::get("/picture.png").header("host", "store");
            let request = request.body(Full::default())?;
            tokio::time::timeout(FETCH_WAIT, self.store.call(request)).await?
        };
        // A kept connection may end just as it is used, and a picture can be asked for again.
        let answer = match ask().await {
            Err(_) => ask().await?,
            answer => answer?,
        };
        ensure!(answer.status() == StatusCode::OK, "the store answers {}", answer.status());
        Ok(answer.into_body())
    }
}

/// The client of the store.
pub(crate) fn store_at(address: SocketAddr) -> Client {
    Client::new(address)
}

fn compute(kind: Kind, picture: Bytes) -> anyhow::Result<Bytes> {
    let call = |function: Function, query: &str, body: Bytes| {
        let input = Input { query: query.into(), content_type: None, body };
        anyhow::Ok(function.call(&input, &|_| {})?.body)
    };
    if kind == Kind::DataLocal {
        return call(Function::ImageResize, "width=1600&height=1600", picture);
    }
    for _ in 0..MATRICES {
        call(Function::MatrixMultiplication, "n=512", Bytes::new())?;
    }
    call(Function::FloatingPoint, "", Bytes::new())
}

/// A picture of about [`PICTURE_BYTES`] that can be resized: noise does not compress.
pub(crate) fn picture() -> anyhow::Result<Bytes> {
    const SIDE: u32 = 182;
    let mut rng = Pcg64::new(1, 1);
    let mut pixels = vec![0; (SIDE * SIDE * 3) as usize];
    rng.fill_bytes(&mut pixels);
    let mut png = std::io::Cursor::new(Vec::with_capacity(PICTURE_BYTES));
    image::write_buffer_with_format(
        &mut png,
        &pixels,
        SIDE,
        SIDE,
        image::ExtendedColorType::Rgb8,
        image::ImageFormat::Png,
    )?;
    Ok(png.into_inner().into())
}
