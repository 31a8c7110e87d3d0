//! What is dear to make and cheap to make again, in memory alone.

use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

use foyer::{Cache, CacheBuilder, Source};

use super::counters::{Asked, Counters};
use super::tiered::LoadFailed;

/// What an entry costs beside what its maker says.
const ENTRY_OVERHEAD: usize = 256;

#[derive(Clone)]
struct Kept<V> {
    value: V,
    bytes: usize,
    until: Instant,
}

/// A cache bounded by bytes and age. A key must stand for one value for as long as an entry is kept.
pub struct MemoryCache<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    cache: Cache<K, Kept<V>>,
    kept: Duration,
    counters: Counters,
    now: Arc<dyn Fn() -> Instant + Send + Sync>,
}

impl<K, V> MemoryCache<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Keeps about `bytes_max` bytes, each value for so long.
    pub fn new(name: &'static str, bytes_max: usize, kept: Duration, asked: Asked) -> Self {
        let builder = CacheBuilder::new(bytes_max).with_name(name).with_shards(1);
        let cache = builder.with_weighter(|_: &K, entry: &Kept<V>| entry.bytes + ENTRY_OVERHEAD).build();
        Self { cache, kept, counters: Counters { cache: name, asked, on_disk: false }, now: Arc::new(Instant::now) }
    }

    /// The value that is kept, or what `load` answers with its bytes, which is then kept. Many who ask for one at
    /// a time cause one load; what failed is not kept.
    pub async fn get_or_load<E, F, Fut>(&self, key: &K, load: F) -> Result<V, E>
    where
        E: std::error::Error + Clone + Send + Sync + 'static,
        F: Fn() -> Fut,
        Fut: Future<Output = Result<(V, usize), E>> + Send + 'static,
    {
        // An entry that is too old is removed and asked for again, if nobody else did meanwhile.
        for _ in 0..2 {
            let (loading, until) = (load(), (self.now)() + self.kept);
            let fresh = async move {
                let (value, bytes) = loading.await.map_err(LoadFailed)?;
                Ok::<_, LoadFailed<E>>(Kept { value, bytes, until })
            };
            let found = match self.cache.get_or_fetch(key, || fresh).await {
                Ok(found) => found,
                Err(error) => match error.downcast_ref::<LoadFailed<E>>() {
                    Some(LoadFailed(source)) => return Err(source.clone()),
                    None => break,
                },
            };
            if found.source() == Source::Outer {
                self.counters.missed();
                return Ok(found.value().value.clone());
            }
            if found.value().until > (self.now)() {
                self.counters.found_in_memory();
                return Ok(found.value().value.clone());
            }
            self.cache.remove(key);
        }
        self.counters.missed();
        load().await.map(|(value, _)| value)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

    use super::super::not_counted;
    use super::*;
    use crate::state::EngineError;

    struct World {
        cache: MemoryCache<u32, Arc<str>>,
        loads: Arc<AtomicUsize>,
        /// Seconds that have passed.
        passed: Arc<AtomicU64>,
    }

    impl World {
        fn new(bytes_max: usize) -> Self {
            let (passed, begun) = (Arc::<AtomicU64>::default(), Instant::now());
            let clock = passed.clone();
            let now = Arc::new(move || begun + Duration::from_secs(clock.load(Ordering::Relaxed)));
            let cache = MemoryCache::new("test", bytes_max, Duration::from_secs(60), not_counted);
            Self { cache: MemoryCache { now, ..cache }, loads: Arc::default(), passed }
        }

        async fn get(&self, key: u32) -> Result<Arc<str>, EngineError> {
            let load = || {
                let loads = self.loads.clone();
                async move {
                    let count = loads.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    if key == 0 {
                        return Err(EngineError::Failed(format!("load {count}")));
                    }
                    Ok((format!("{key} of load {count}").into(), 1_000))
                }
            };
            self.cache.get_or_load(&key, load).await
        }

        fn loads(&self) -> usize {
            self.loads.load(Ordering::Relaxed)
        }
    }

    #[tokio::test]
    async fn many_who_ask_at_a_time_cause_one_load_and_an_old_value_is_loaded_again() {
        let world = World::new(100_000);
        let all = tokio::join!(world.get(1), world.get(1), world.get(1));
        assert_eq!((all.0.as_deref(), &all.0, &all.0), (Ok("1 of load 0"), &all.1, &all.2));
        world.passed.store(59, Ordering::Relaxed);
        assert_eq!(world.get(1).await.as_deref(), Ok("1 of load 0"));
        world.passed.store(61, Ordering::Relaxed);
        assert_eq!(world.get(1).await.as_deref(), Ok("1 of load 1"));
        assert_eq!(world.loads(), 2);
    }

    #[tokio::test]
    async fn a_failure_is_told_to_all_who_wait_and_not_kept() {
        let world = World::new(100_000);
        let failed = |count: usize| Err(EngineError::Failed(format!("load {count}")));
        assert_eq!(tokio::join!(world.get(0), world.get(0)), (failed(0), failed(0)));
        assert_eq!(world.get(0).await, failed(1));
    }

    #[tokio::test]
    async fn it_holds_no_more_than_it_may() {
        let world = World::new(10_000);
        for key in 1..=100 {
            world.get(key).await.unwrap();
        }
        assert!(world.cache.cache.usage() <= 10_000, "{}", world.cache.cache.usage());
        assert_eq!(world.loads(), 100);
        world.get(100).await.unwrap();
        assert_eq!(world.loads(), 100, "the newest is still there");
    }
}
