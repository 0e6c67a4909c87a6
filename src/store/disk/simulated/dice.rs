//! Chance that can be repeated. Part of `store::disk::simulated`.

/// A sequence of numbers that its seed decides (SplitMix64).
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.roll() % bound as u64) as usize
    }

    /// True in so many of a hundred cases.
    pub(crate) fn odds(&mut self, per_cent: usize) -> bool {
        self.below(100) < per_cent
    }

    /// One of `choices`.
    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

/// What one power cut does with everything that was not synced.
#[derive(Clone, Debug)]
pub(super) struct Cut {
    pub(super) dice: Dice,
    /// Of a hundred pages so many hold what was written last.
    pub(super) keep: usize,
    /// Of a hundred others so many are torn.
    pub(super) tear: usize,
}

impl Cut {
    pub(super) fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let keep = dice.pick(&[0, 10, 50, 50, 90, 100]);
        let tear = dice.pick(&[0, 20, 60]);
        Self { dice, keep, tear }
    }

    /// How many of `count` changes, which reach the platter in order, did.
    pub(super) fn reached(&mut self, count: usize) -> usize {
        match self.keep {
            0 => 0,
            100 => count,
            _ => self.dice.below(count + 1),
        }
    }

    /// Which of `count` changes, which reach the platter in any order, did. Half of all file systems keep an order.
    pub(super) fn chosen(&mut self, count: usize) -> Vec<bool> {
        if matches!(self.keep, 0 | 100) || self.dice.odds(50) {
            let reached = self.reached(count);
            return (0..count).map(|at| at < reached).collect();
        }
        (0..count).map(|_| self.dice.odds(self.keep)).collect()
    }
}
