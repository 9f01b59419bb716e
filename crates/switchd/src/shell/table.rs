//! Places for connections, numbered for the core: an index that is used again and a generation that is not.

use std::rc::Rc;

/// Connections by index and generation.
#[derive(Debug)]
pub(crate) struct Table<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    value: Option<Rc<T>>,
}

/// Index and generation.
pub(crate) type Place = (u32, u32);

impl<T> Default for Table<T> {
    fn default() -> Self {
        Table { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Table<T> {
    /// Gives a place.
    pub(crate) fn insert(&mut self, value: Rc<T>) -> Place {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, value: None });
            // The configured limits are far below.
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        let slot = &mut self.slots[index as usize];
        assert!(slot.value.is_none(), "a place is given to one connection at a time");
        slot.value = Some(value);
        (index, slot.generation)
    }

    /// Takes a place back.
    pub(crate) fn remove(&mut self, (index, generation): Place) {
        let slot = &mut self.slots[index as usize];
        assert!(slot.generation == generation && slot.value.is_some(), "a place is taken back once");
        slot.value = None;
        // A place whose generations are used up is not given again.
        if let Some(next) = slot.generation.checked_add(1) {
            slot.generation = next;
            self.free.push(index);
        }
    }

    /// The connection at a place, if it is still the same.
    pub(crate) fn get(&self, (index, generation): Place) -> Option<&Rc<T>> {
        let slot = self.slots.get(index as usize)?;
        slot.value.as_ref().filter(|_| slot.generation == generation)
    }

    /// All that are open.
    pub(crate) fn values(&self) -> impl Iterator<Item = &Rc<T>> {
        self.slots.iter().filter_map(|slot| slot.value.as_ref())
    }

    /// Whether none is open.
    pub(crate) fn is_empty(&self) -> bool {
        self.values().next().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_used_again_is_another_connection() {
        let mut table = Table::default();
        let first = table.insert(Rc::new('a'));
        assert_eq!(table.get(first).map(|v| **v), Some('a'));
        table.remove(first);
        assert!(table.get(first).is_none() && table.is_empty());
        let second = table.insert(Rc::new('b'));
        assert_eq!((second.0, second.1), (first.0, first.1 + 1));
        assert!(table.get(first).is_none());
        assert_eq!(table.get(second).map(|v| **v), Some('b'));
        let third = table.insert(Rc::new('c'));
        assert_ne!(third.0, second.0);
        assert_eq!(table.values().count(), 2);
    }
}
