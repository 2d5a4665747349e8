use std::time::{Duration, Instant};
use evertask::*;
use std::sync::atomic::*;
#[derive(serde::Serialize, serde::Deserialize)]
struct Noop { n: u64 }
static DONE: AtomicU64 = AtomicU64::new(0);
impl Handler for Noop {
    type Output = u64;
    const OPTIONS: HandlerOptions = HandlerOptions::new("noop", Location{module:"m",file:"f",line:1,column:1});
    async fn call(self, _: Context) -> Result<u64, Failure> { DONE.fetch_add(1, Ordering::Relaxed); Ok(self.n + 1) }
}
#[tokio::main]
async fn main() {
    let rt = Runtime::builder().storage(storage::Memory::new()).handler::<Noop>().start().await.unwrap();
    let t = dispatch(Noop{n:1}).await.unwrap();
    assert_eq!(t.output().await.unwrap(), 2);
    let start = Instant::now();
    let n = 200_000u64;
    let mut js = tokio::task::JoinSet::new();
    for _ in 0..16 { js.spawn(async move { for i in 0..n/16 { dispatch(Noop{n:i}).await.unwrap(); } }); }
    while js.join_next().await.is_some() {}
    println!("stored at {:?}", start.elapsed());
    while DONE.load(Ordering::Relaxed) < n+1 { tokio::time::sleep(Duration::from_millis(1)).await }
    println!("{n} in {:?} = {:.0}/s", start.elapsed(), n as f64 / start.elapsed().as_secs_f64());
    println!("{:?}", rt.health().await);
    rt.shutdown().await.unwrap();
}
