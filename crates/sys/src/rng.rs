//! Chance: from the operating system in production, from a seed in tests.

use std::cell::RefCell;
use std::sync::Arc;

use parking_lot::Mutex;

/// Source of randomness. Cloning is cheap; clones of a seeded source share its sequence.
#[derive(Clone, Debug)]
pub struct Rng(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Seeded(Arc<Mutex<u64>>),
}

/// Bytes that one thread asks the operating system for at a time: one request needs a dozen ids, and each would be a system call.
const STOCK_BYTES: usize = 512;
/// More than this is asked for by itself.
const STOCKED_BYTES_MAX: usize = 64;

thread_local! {
    static STOCK: RefCell<Stock> = const { RefCell::new(Stock { bytes: [0; STOCK_BYTES], left: 0 }) };
}

/// Random bytes of the operating system that nobody has had yet. A process that forks must not draw from it on both sides:
/// this one never does (only the sandbox launcher forks, and it asks for none).
struct Stock {
    bytes: [u8; STOCK_BYTES],
    /// The first so many are fresh; what was given away is zero.
    left: usize,
}

impl Stock {
    fn give(&mut self, wanted: &mut [u8]) {
        if self.left < wanted.len() {
            from_system(&mut self.bytes);
            self.left = STOCK_BYTES;
        }
        let fresh = &mut self.bytes[self.left - wanted.len()..self.left];
        wanted.copy_from_slice(fresh);
        fresh.fill(0);
        self.left -= wanted.len();
    }
}

fn from_system(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the kernel's random generator answers");
}

impl Rng {
    /// The operating system's generator: fit for keys and secrets.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A repeatable sequence (SplitMix64) for tests and simulation. Never use it for secrets.
    pub fn seeded(seed: u64) -> Self {
        Self(Source::Seeded(Arc::new(Mutex::new(seed))))
    }

    /// Fills `bytes` with random bytes.
    ///
    /// # Panics
    /// When the operating system has no randomness to give: nothing safe can be done then.
    pub fn fill(&self, bytes: &mut [u8]) {
        match &self.0 {
            Source::System if bytes.len() <= STOCKED_BYTES_MAX => STOCK.with_borrow_mut(|stock| stock.give(bytes)),
            Source::System => from_system(bytes),
            Source::Seeded(state) => {
                let mut state = state.lock();
                for chunk in bytes.chunks_mut(8) {
                    let word = split_mix_64(&mut state).to_le_bytes();
                    chunk.copy_from_slice(&word[..chunk.len()]);
                }
            }
        }
    }

    /// `N` random bytes.
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }

    /// A random 64-bit number.
    pub fn next_u64(&self) -> u64 {
        u64::from_le_bytes(self.bytes())
    }

    /// A number in `0..bound`, each equally likely to within 2⁻⁶⁴·`bound`; 0 when `bound` is 0.
    pub fn below(&self, bound: u64) -> u64 {
        let wide = u128::from(self.next_u64()) * u128::from(bound);
        u64::try_from(wide >> 64).expect("a product of two 64-bit numbers shifted by 64 fits 64 bits")
    }

    /// A string of `length` characters drawn from `alphabet` (ASCII).
    pub fn string(&self, alphabet: &str, length: usize) -> String {
        let letters = alphabet.as_bytes();
        (0..length)
            .map(|_| {
                let at = self.below(letters.len() as u64);
                char::from(letters[usize::try_from(at).unwrap_or(0)])
            })
            .collect()
    }
}

/// SplitMix64, Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
fn split_mix_64(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_bytes() {
        let (a, b) = (Rng::seeded(42), Rng::seeded(42));
        assert_eq!(a.bytes::<33>(), b.bytes::<33>());
        assert_ne!(a.next_u64(), a.next_u64());
    }

    #[test]
    fn split_mix_matches_the_published_first_output_for_seed_zero() {
        assert_eq!(split_mix_64(&mut 0), 0xe220_a839_7b1d_cdaf);
    }

    #[test]
    fn below_stays_below_and_reaches_every_value() {
        let rng = Rng::seeded(1);
        let mut seen = [false; 5];
        for _ in 0..200 {
            seen[usize::try_from(rng.below(5)).expect("small")] = true;
        }
        assert_eq!(seen, [true; 5]);
        assert_eq!(rng.below(0), 0);
    }

    fn first_16(bytes: &[u8]) -> [u8; 16] {
        bytes[..16].try_into().unwrap()
    }

    #[test]
    fn system_randomness_differs_between_calls_sizes_and_threads() {
        let draw = || {
            let rng = Rng::system();
            // Over several stocks, by lengths that do not divide them.
            (0..200).flat_map(|_| [rng.bytes::<16>(), first_16(&rng.bytes::<29>())]).collect::<Vec<_>>()
        };
        let mut all = draw();
        all.extend(std::thread::scope(|scope| scope.spawn(draw).join().unwrap()));
        all.push(first_16(&Rng::system().bytes::<100>()));
        let count = all.len();
        assert_eq!(all.into_iter().collect::<std::collections::HashSet<[u8; 16]>>().len(), count);
    }

    #[test]
    fn what_was_given_away_is_forgotten_and_given_once() {
        let mut stock = Stock { bytes: [7; STOCK_BYTES], left: STOCK_BYTES };
        let mut wanted = [0; 60];
        for times in 1..=STOCK_BYTES / 60 {
            stock.give(&mut wanted);
            assert_eq!(wanted, [7; 60]);
            assert_eq!(stock.bytes.iter().filter(|byte| **byte == 7).count(), STOCK_BYTES - 60 * times);
        }
        stock.give(&mut wanted);
        assert_ne!(wanted, [7; 60], "the rest is too short: fresh ones");
        assert_eq!((stock.left, &stock.bytes[STOCK_BYTES - 60..]), (STOCK_BYTES - 60, &[0; 60][..]));
    }
}
