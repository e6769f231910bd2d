//! The load of this host, sampled on a timer and never in the request path.

use std::sync::RwLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sysinfo::System;

/// Time between two samples.
pub const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);

/// What the host looked like at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct LoadSample {
    /// Cores in use, in percent of one core: 200 is two cores.
    pub cpu_percent: f64,
    /// Share of all cores in use, 0 to 1.
    pub cpu_normalized: f64,
    /// Unix load average over one, five and fifteen minutes.
    pub load_averages: [f64; 3],
    /// Memory in use, in percent.
    pub memory_percent: f64,
    /// Memory that programs can still take, in GiB.
    pub memory_available_gb: f64,
    /// Space in use on the root file system, in percent.
    pub disk_percent: f64,
    /// Space left on it, in GiB.
    pub disk_free_gb: f64,
}

/// The latest sample, published for readers that must not wait.
#[derive(Debug, Default)]
pub struct HostLoad {
    cpu_share_bits: AtomicU64,
    latest: RwLock<LoadSample>,
}

impl HostLoad {
    /// Share of all cores in use, 0 to 1; all that a decision needs.
    pub fn cpu_share(&self) -> f64 {
        f64::from_bits(self.cpu_share_bits.load(Ordering::Relaxed))
    }

    /// The whole latest sample.
    pub fn latest(&self) -> LoadSample {
        self.latest.read().map(|sample| *sample).unwrap_or_default()
    }

    /// Makes `sample` the latest.
    pub fn publish(&self, sample: LoadSample) {
        self.cpu_share_bits.store(sample.cpu_normalized.to_bits(), Ordering::Relaxed);
        if let Ok(mut latest) = self.latest.write() {
            *latest = sample;
        }
    }
}

/// Takes samples; the CPU share is that of the time since the sample before.
pub struct Sampler {
    system: System,
}

const GIB: f64 = (1_u64 << 30) as f64;

impl Sampler {
    /// A sampler, unless this platform has nothing to sample.
    pub fn new() -> Result<Self, sysinfo::Error> {
        let mut system = System::new()?;
        system.refresh_cpu_usage();
        Ok(Self { system })
    }

    /// The state of the host now.
    pub fn sample(&mut self) -> LoadSample {
        self.system.refresh_cpu_usage();
        self.system.refresh_memory();
        let cpu_normalized = f64::from(self.system.global_cpu_usage()) / 100.0;
        let cores = self.system.cpus().len().max(1) as f64;
        let averages = System::load_average().ok();
        let averages = averages.map_or([0.0; 3], |a| [a.one, a.five, a.fifteen]);
        let (disk_total, disk_free) = root_disk();
        let memory_total = self.system.total_memory();
        let memory_available = self.system.available_memory();
        LoadSample {
            cpu_percent: cpu_normalized * 100.0 * cores,
            cpu_normalized,
            load_averages: averages,
            memory_percent: used_percent(memory_total, memory_available),
            memory_available_gb: memory_available as f64 / GIB,
            disk_percent: used_percent(disk_total, disk_free),
            disk_free_gb: disk_free as f64 / GIB,
        }
    }
}

/// Bytes of the root file system, and those that are free. Only that one is asked, where sysinfo
/// lists every mount: hundreds on a host of containers, and one on a server that is gone blocks.
fn root_disk() -> (u64, u64) {
    let Ok(space) = rustix::fs::statvfs("/") else { return (0, 0) };
    let bytes = |blocks: u64| blocks.saturating_mul(space.f_frsize);
    (bytes(space.f_blocks), bytes(space.f_bavail))
}

fn used_percent(total: u64, available: u64) -> f64 {
    if total == 0 { 0.0 } else { 100.0 * (1.0 - available as f64 / total as f64) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_of_this_host_is_within_bounds() {
        let mut sampler = Sampler::new().unwrap();
        std::thread::sleep(Duration::from_millis(250));
        let sample = sampler.sample();
        assert!((0.0..=1.0).contains(&sample.cpu_normalized), "{sample:?}");
        assert!((0.0..=100.0).contains(&sample.memory_percent), "{sample:?}");
        assert!(sample.memory_available_gb > 0.0, "{sample:?}");
        assert!((0.0..=100.0).contains(&sample.disk_percent), "{sample:?}");
    }

    #[test]
    fn what_is_published_is_read() {
        let host = HostLoad::default();
        let sample = LoadSample { cpu_normalized: 0.25, ..LoadSample::default() };
        host.publish(sample);
        assert_eq!((host.cpu_share(), host.latest()), (0.25, sample));
    }
}
