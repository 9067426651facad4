//! The memory of the delay wheel: chunks of one cache line, in blocks that never move.

use crate::slab::NIL;

const SHIFT: u32 = 11;
/// Chunks in a block: 128 KiB.
const BLOCK: u32 = 1 << SHIFT;
const MASK: u32 = BLOCK - 1;

/// Words of a chunk that hold entries.
pub(super) const WORDS: usize = 14;

/// A piece of a list of entries.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Chunk {
    /// The chunk behind it in its list, or [`NIL`].
    pub(super) next: u32,
    /// Entries in it, from the first word on.
    pub(super) count: u32,
    pub(super) words: [u32; WORDS],
}

impl Chunk {
    pub(super) const EMPTY: Self = Self { next: NIL, count: 0, words: [0; WORDS] };
}

/// Chunks under `u32` numbers. A block none of whose chunks is in use goes back to the allocator,
/// but for one, kept for a load that moves to and fro across a block's border.
pub(super) struct Arena {
    blocks: Vec<Block>,
    /// The block that chunks are taken from.
    current: Option<u32>,
    /// Other blocks with room. One that was given back since may still be named here.
    roomy: Vec<u32>,
    /// Numbers of blocks that were given back.
    absent: Vec<u32>,
    /// Blocks held with no chunk in use.
    idle: usize,
}

#[derive(Default)]
struct Block {
    /// Grows to `BLOCK` chunks within its first allocation, so the memory is touched as it is used.
    chunks: Vec<Chunk>,
    /// How many chunks were taken for the first time.
    fresh: u32,
    /// The chunk freed last, chained through `next`.
    free: u32,
    used: u32,
}

impl Block {
    fn is_full(&self) -> bool {
        self.used == BLOCK
    }

    fn is_absent(&self) -> bool {
        self.chunks.capacity() == 0
    }
}

impl Arena {
    /// An arena that owns no memory.
    pub(super) const fn new() -> Self {
        Self { blocks: Vec::new(), current: None, roomy: Vec::new(), absent: Vec::new(), idle: 0 }
    }

    #[inline]
    pub(super) fn chunk(&self, index: u32) -> &Chunk {
        &self.blocks[(index >> SHIFT) as usize].chunks[(index & MASK) as usize]
    }

    #[inline]
    pub(super) fn chunk_mut(&mut self, index: u32) -> &mut Chunk {
        &mut self.blocks[(index >> SHIFT) as usize].chunks[(index & MASK) as usize]
    }

    /// Takes an empty chunk into use.
    pub(super) fn take(&mut self) -> u32 {
        let number = match self.current {
            Some(number) if !self.blocks[number as usize].is_full() => number,
            _ => self.next_block(),
        };
        self.current = Some(number);
        let block = &mut self.blocks[number as usize];
        if block.used == 0 {
            self.idle -= 1;
        }
        block.used += 1;
        let place = if block.free == NIL {
            block.chunks.push(Chunk::EMPTY);
            block.fresh += 1;
            block.fresh - 1
        } else {
            let place = block.free;
            let chunk = &mut block.chunks[place as usize];
            block.free = chunk.next;
            *chunk = Chunk::EMPTY;
            place
        };
        debug_assert!(place < BLOCK, "a block has {BLOCK} chunks");
        number << SHIFT | place
    }

    /// Frees a chunk that is in no list any more.
    pub(super) fn free(&mut self, index: u32) {
        let number = index >> SHIFT;
        let block = &mut self.blocks[number as usize];
        let was_full = block.is_full();
        block.used -= 1;
        if block.used == 0 {
            self.rest(number);
            return;
        }
        let place = index & MASK;
        block.chunks[place as usize].next = block.free;
        block.free = place;
        if was_full && self.current != Some(number) {
            self.roomy.push(number);
        }
    }

    /// Bytes held for chunks, in use or not.
    pub(super) fn bytes(&self) -> usize {
        (self.blocks.len() - self.absent.len()) * BLOCK as usize * size_of::<Chunk>()
    }

    /// A block's last chunk was freed: keeps it as the one idle block, or gives it back.
    fn rest(&mut self, number: u32) {
        let block = &mut self.blocks[number as usize];
        if self.idle == 0 || self.current == Some(number) {
            block.chunks.clear();
            block.fresh = 0;
            block.free = NIL;
            self.idle += 1;
        } else {
            *block = Block::default();
            self.absent.push(number);
        }
    }

    fn next_block(&mut self) -> u32 {
        while let Some(number) = self.roomy.pop() {
            if !self.blocks[number as usize].is_absent() {
                return number;
            }
        }
        // No number in `roomy` here, so none that is used anew can be left in it.
        let number = self.absent.pop().unwrap_or_else(|| self.new_number());
        self.blocks[number as usize] =
            Block { chunks: Vec::with_capacity(BLOCK as usize), fresh: 0, free: NIL, used: 0 };
        self.idle += 1;
        number
    }

    fn new_number(&mut self) -> u32 {
        let number = u32::try_from(self.blocks.len()).unwrap_or(NIL);
        assert!(number < NIL >> SHIFT, "the delay wheel is full: {number} blocks are in use");
        self.blocks.push(Block::default());
        number
    }
}
