//! Things with keys that are never used twice.

/// Things by key. A key outlives its thing and then finds nothing.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    places: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { places: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    pub(crate) fn insert(&mut self, thing: T) -> u64 {
        let at = self.free.pop().unwrap_or_else(|| {
            self.places.push((0, None));
            self.places.len() as u32 - 1
        });
        let place = &mut self.places[at as usize];
        place.0 += 1;
        place.1 = Some(thing);
        u64::from(place.0) << 32 | u64::from(at)
    }

    fn place(&self, key: u64) -> Option<usize> {
        let at = (key & u64::from(u32::MAX)) as usize;
        self.places.get(at).is_some_and(|place| u64::from(place.0) == key >> 32).then_some(at)
    }

    pub(crate) fn get(&self, key: u64) -> Option<&T> {
        self.places[self.place(key)?].1.as_ref()
    }

    pub(crate) fn get_mut(&mut self, key: u64) -> Option<&mut T> {
        let at = self.place(key)?;
        self.places[at].1.as_mut()
    }

    pub(crate) fn remove(&mut self, key: u64) -> Option<T> {
        let at = self.place(key)?;
        let thing = self.places[at].1.take()?;
        self.free.push(at as u32);
        Some(thing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_finds_its_own_thing_and_no_later_one() {
        let mut slab = Slab::default();
        let one = slab.insert('a');
        assert_eq!(slab.get(one), Some(&'a'));
        assert_eq!(slab.remove(one), Some('a'));
        let other = slab.insert('b');
        assert_ne!(one, other);
        assert_eq!(slab.get(one), None);
        assert_eq!(slab.get_mut(one), None);
        assert_eq!(slab.get(other), Some(&'b'));
    }
}
