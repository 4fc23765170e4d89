//! Memory for blocks: size classes cut from chunks, chunks cut from mapped regions.
//!
//! ```text
//! region (16 MiB, aligned) = table of chunks | chunk | chunk | ...
//! chunk  (64 KiB, aligned) = blocks of one size class
//! block                    = header (8 bytes, see `store`) | content
//! ```
//!
//! Everything here belongs to the one writer. Readers never look at the tables or at free blocks,
//! so nothing here is shared between threads. A block's class stands in the lowest byte of its
//! header while it is in use; a free block holds the link to the next one instead.
//!
//! A chunk whose blocks are all free serves any class again. Beyond a reserve its memory goes back
//! to the system at once, and its address space when all chunks of its region are free. Blocks
//! above 8 KiB, or all of them if the slab is told so (for address sanitizers), come from the
//! global allocator one by one.

#![allow(unsafe_code)]
// Blocks and prefixes are aligned to 8, which the lint cannot know.
#![allow(clippy::cast_ptr_alignment)]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};

use memmap2::MmapMut;

const CHUNK: usize = 1 << 16;
const REGION: usize = 1 << 24;
const CHUNKS: usize = REGION / CHUNK;
/// Bytes of a region's table, which takes the front of its first chunk.
const TABLE: usize = CHUNKS * size_of::<Chunk>();
/// Largest block that is cut from chunks.
const LARGEST: usize = 8192;
const CLASSES: usize = 96;
/// Class byte of a block that has its own allocation.
const SEPARATE: u8 = 255;
/// Bytes in front of a separate block: its size, and its place in [`Slab::separate`].
const PREFIX: usize = 16;
/// Spare chunks to keep before memory is returned.
const RESERVE: usize = 64;
const NOWHERE: u32 = u32::MAX;

/// Class of the smallest blocks of at least `size` bytes: steps of 8 up to 512, then of an eighth.
fn class_of(size: usize) -> u8 {
    let above = size.max(16) - 1;
    if above < 512 {
        return (above / 8) as u8;
    }
    let top = above.ilog2();
    (64 + (top - 9) as usize * 8 + ((above >> (top - 3)) & 7)) as u8
}

/// Bytes of a class's blocks.
fn class_size(class: u8) -> usize {
    let class = usize::from(class);
    if class < 64 {
        return (class + 1) * 8;
    }
    (9 + (class & 7)) << ((class - 64) / 8 + 6)
}

/// Row of a region's table.
#[repr(C)]
struct Chunk {
    /// First free block, in units of 8 bytes plus one; zero for none.
    free: u16,
    /// Blocks in use.
    live: u16,
    /// Where blocks were never used yet.
    fresh: u32,
    /// Place in the class's list of chunks with room.
    place: u32,
    region: u32,
    class: u8,
    /// Blocks are being taken from here.
    current: bool,
    room: [u8; 14],
}

const _: () = assert!(size_of::<Chunk>() == 32 && TABLE < CHUNK && usize::BITS == 64);

struct Region {
    /// The memory.
    map: MmapMut,
    base: usize,
    /// Chunks handed out at least once.
    used: usize,
    /// Of these, chunks without blocks.
    spare: usize,
}

#[derive(Default)]
struct Class {
    /// Chunk in use, zero for none.
    current: usize,
    /// Other chunks with free blocks.
    room: Vec<usize>,
}

/// The writer's memory. Gives everything back when dropped.
pub(super) struct Slab {
    classes: Vec<Class>,
    regions: Vec<Option<Region>>,
    spare: Vec<usize>,
    separate: Vec<usize>,
    all_separate: bool,
    blocks: usize,
    bytes: usize,
}

/// The table row of the chunk that `addr` lies in.
fn row(addr: usize) -> *mut Chunk {
    let base = addr & !(REGION - 1);
    let index = (addr & (REGION - 1)) / CHUNK;
    std::ptr::with_exposed_provenance_mut(base + index * size_of::<Chunk>())
}

/// Where a chunk's first block lies, relative to the chunk.
fn start(chunk: usize) -> u32 {
    if chunk & (REGION - 1) == 0 { TABLE as u32 } else { 0 }
}

impl Slab {
    pub(super) fn new(all_separate: bool) -> Slab {
        Slab {
            classes: (0..CLASSES).map(|_| Class::default()).collect(),
            regions: Vec::new(),
            spare: Vec::new(),
            separate: Vec::new(),
            all_separate,
            blocks: 0,
            bytes: 0,
        }
    }

    /// Blocks in use, and their bytes.
    pub(super) fn in_use(&self) -> (usize, usize) {
        (self.blocks, self.bytes)
    }

    /// Address of an initialised block of at least `size` bytes, aligned to 8, and its class, which
    /// the caller writes into the lowest byte of the block's first word.
    pub(super) fn take(&mut self, size: usize) -> (usize, u8) {
        self.blocks += 1;
        if size > LARGEST || self.all_separate {
            return (self.take_separate(size), SEPARATE);
        }
        let class = class_of(size);
        let block = class_size(class);
        self.bytes += block;
        loop {
            let chunk = self.classes[usize::from(class)].current;
            if chunk == 0 {
                self.next_chunk(class);
                continue;
            }
            // SAFETY: a current chunk is part of a live region, so its row is initialised (zero
            // pages are a valid row) and only this writer refers to it.
            let row = unsafe { &mut *row(chunk) };
            if row.free != 0 {
                let addr = chunk + (usize::from(row.free) - 1) * 8;
                // SAFETY: `free` names a free block of this chunk, whose first word is the link
                // that `give_back` wrote.
                row.free = unsafe { *std::ptr::with_exposed_provenance::<u64>(addr) } as u16;
                row.live += 1;
                return (addr, class);
            }
            if row.fresh as usize + block <= CHUNK {
                let addr = chunk + row.fresh as usize;
                row.fresh += block as u32;
                row.live += 1;
                return (addr, class);
            }
            row.current = false;
            self.classes[usize::from(class)].current = 0;
        }
    }

    /// Makes a chunk with room the current one of `class`.
    fn next_chunk(&mut self, class: u8) {
        let list = &mut self.classes[usize::from(class)];
        let chunk = if let Some(chunk) = list.room.pop() {
            list.current = chunk;
            chunk
        } else {
            let chunk = self.fresh_chunk();
            self.classes[usize::from(class)].current = chunk;
            chunk
        };
        // SAFETY: as in `take`.
        let row = unsafe { &mut *row(chunk) };
        row.class = class;
        row.current = true;
        row.place = NOWHERE;
    }

    /// A chunk without blocks, its row prepared.
    fn fresh_chunk(&mut self) -> usize {
        let (chunk, region) = if let Some(chunk) = self.spare.pop() {
            // SAFETY: a spare chunk is part of a live region.
            (chunk, unsafe { (*row(chunk)).region })
        } else {
            let full = |region: &Option<Region>| region.as_ref().is_none_or(|r| r.used == CHUNKS);
            let at = match self.regions.iter().rposition(|region| !full(region)) {
                Some(at) => at,
                None => self.map_region(),
            };
            let region = self.regions[at].as_mut().expect("a region with room is live");
            region.used += 1;
            region.spare += 1;
            (region.base + (region.used - 1) * CHUNK, at as u32)
        };
        if let Some(region) = &mut self.regions[region as usize] {
            region.spare -= 1;
        }
        // SAFETY: the chunk is part of a live region and unused, nothing else refers to its row.
        unsafe {
            row(chunk).write(Chunk {
                free: 0,
                live: 0,
                fresh: start(chunk),
                place: NOWHERE,
                region,
                class: 0,
                current: false,
                room: [0; 14],
            });
        }
        chunk
    }

    fn map_region(&mut self) -> usize {
        // Twice the size, so that an aligned region lies inside; what is never touched costs
        // address space only.
        let mut map = MmapMut::map_anon(2 * REGION).expect("memory for the tree");
        let base = map.as_mut_ptr().expose_provenance().next_multiple_of(REGION);
        assert!(base + REGION < 1 << 48, "addresses fit into 48 bits");
        // A tree that is still small would only waste the better part of a huge page.
        #[cfg(target_os = "linux")]
        if !self.regions.is_empty() {
            // Refusal leaves ordinary pages, which are as good, only slower.
            let _ = map.advise(memmap2::Advice::HugePage);
        }
        let region = Some(Region { map, base, used: 0, spare: 0 });
        if let Some(at) = self.regions.iter().position(Option::is_none) {
            self.regions[at] = region;
            return at;
        }
        self.regions.push(region);
        self.regions.len() - 1
    }

    /// Takes a block back.
    ///
    /// # Safety
    ///
    /// `addr` came from [`Slab::take`] of this slab, was not given back since, its class stands in
    /// the lowest byte of its first word, and nobody refers to it any more.
    pub(super) unsafe fn give_back(&mut self, addr: usize) {
        self.blocks -= 1;
        let word = std::ptr::with_exposed_provenance_mut::<u64>(addr);
        // SAFETY: the block is live, its first word holds the class.
        let class = unsafe { *word } as u8;
        if class == SEPARATE {
            // SAFETY: passed on.
            unsafe { self.give_back_separate(addr) };
            return;
        }
        self.bytes -= class_size(class);
        let chunk = addr & !(CHUNK - 1);
        // SAFETY: the block lies in a chunk of a live region; only this writer refers to its row.
        let row = unsafe { &mut *row(chunk) };
        // SAFETY: the block is ours again; the link lies inside of it.
        unsafe { *word = u64::from(row.free) };
        row.free = ((addr - chunk) / 8 + 1) as u16;
        row.live -= 1;
        if row.current {
            return;
        }
        let list = &mut self.classes[usize::from(class)].room;
        if row.live > 0 {
            if row.place == NOWHERE {
                row.place = list.len() as u32;
                list.push(chunk);
            }
            return;
        }
        if row.place != NOWHERE {
            let place = row.place as usize;
            list.swap_remove(place);
            if let Some(&moved) = list.get(place) {
                // SAFETY: listed chunks are parts of live regions. Another chunk, another row.
                unsafe { (*self::row(moved)).place = place as u32 };
            }
            row.place = NOWHERE;
        }
        let region = row.region as usize;
        self.spare.push(chunk);
        self.chunk_came_back(chunk, region);
    }

    fn chunk_came_back(&mut self, chunk: usize, at: usize) {
        let spares = self.spare.len();
        let Some(region) = &mut self.regions[at] else { return };
        region.spare += 1;
        if region.spare == region.used && spares >= region.used + RESERVE {
            let base = region.base;
            self.spare.retain(|chunk| chunk & !(REGION - 1) != base);
            self.regions[at] = None;
            return;
        }
        // Elsewhere it stays for the next one who needs a chunk.
        #[cfg(target_os = "linux")]
        if spares > RESERVE && chunk != region.base {
            let offset = chunk - region.map.as_ptr().addr();
            // SAFETY: the chunk has no blocks, so nobody refers to its memory, which is inside of
            // the map; it reads as zeros from now on, which is initialised. The region's table is
            // in the first chunk, which is left out. Refusal only means that the memory stays.
            let _ = unsafe {
                region.map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, offset, CHUNK)
            };
        }
    }

    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size + PREFIX, 16).expect("a block is below 4 GiB")
    }

    fn take_separate(&mut self, size: usize) -> usize {
        let layout = Slab::layout(size);
        // SAFETY: the layout's size is not zero.
        let raw = unsafe { alloc_zeroed(layout) };
        if raw.is_null() {
            handle_alloc_error(layout);
        }
        // SAFETY: the prefix is 16 bytes at the front of the new allocation, aligned to 16.
        unsafe { raw.cast::<[usize; 2]>().write([size, self.separate.len()]) };
        let addr = raw.expose_provenance() + PREFIX;
        assert!(addr + size < 1 << 48, "addresses fit into 48 bits");
        self.separate.push(addr);
        self.bytes += size;
        addr
    }

    /// # Safety
    ///
    /// As [`Slab::give_back`], for a separate block.
    unsafe fn give_back_separate(&mut self, addr: usize) {
        let raw = std::ptr::with_exposed_provenance_mut::<u8>(addr - PREFIX);
        // SAFETY: `take_separate` wrote the prefix, and nothing writes there except below.
        let [size, place] = unsafe { raw.cast::<[usize; 2]>().read() };
        self.separate.swap_remove(place);
        if let Some(&moved) = self.separate.get(place) {
            let prefix = std::ptr::with_exposed_provenance_mut::<usize>(moved - PREFIX);
            // SAFETY: listed blocks are live allocations with a prefix; its second word is the
            // place.
            unsafe { prefix.add(1).write(place) };
        }
        self.bytes -= size;
        // SAFETY: allocated by `take_separate` with the same layout.
        unsafe { dealloc(raw, Slab::layout(size)) };
    }

    /// Usable bytes of a live block.
    ///
    /// # Safety
    ///
    /// `addr` is a live block whose class stands in the lowest byte of its first word.
    #[inline]
    pub(super) unsafe fn capacity(addr: usize) -> usize {
        // SAFETY: the block is live.
        let class = unsafe { *std::ptr::with_exposed_provenance::<u64>(addr) } as u8;
        if class == SEPARATE {
            // SAFETY: a separate block has a prefix whose first word never changes.
            return unsafe { *std::ptr::with_exposed_provenance::<usize>(addr - PREFIX) };
        }
        class_size(class)
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        for addr in std::mem::take(&mut self.separate) {
            let raw = std::ptr::with_exposed_provenance_mut::<u8>(addr - PREFIX);
            // SAFETY: listed blocks were allocated by `take_separate` and are live; the prefix
            // holds their size. Nobody refers to them, since the slab outlives tree and versions.
            unsafe {
                let size = *raw.cast::<usize>();
                dealloc(raw, Slab::layout(size));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_close_fits() {
        for size in 16..=LARGEST {
            let class = class_of(size);
            let have = class_size(class);
            assert!(have >= size && have <= size + 8 + size / 8, "{size} in {have}");
            assert_eq!(class_of(have), class);
        }
        assert_eq!(usize::from(class_of(LARGEST)), CLASSES - 1);
    }

    fn put(slab: &mut Slab, size: usize) -> usize {
        let (addr, class) = slab.take(size);
        // SAFETY: a fresh block of at least 16 bytes.
        unsafe { *std::ptr::with_exposed_provenance_mut::<u64>(addr) = u64::from(class) };
        addr
    }

    #[test]
    fn blocks_never_overlap_and_all_memory_comes_back() {
        for all_separate in [false, true] {
            let mut slab = Slab::new(all_separate);
            let mut live: Vec<(usize, usize)> = Vec::new();
            let mut seed = 1_u64;
            for step in 0..60_000 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let pick = (seed >> 33) as usize;
                if (step < 40_000 && !pick.is_multiple_of(3)) || live.is_empty() {
                    let size = 16 + pick % if pick.is_multiple_of(97) { 20_000 } else { 700 };
                    live.push((put(&mut slab, size), size));
                } else {
                    let (addr, _) = live.swap_remove(pick % live.len());
                    // SAFETY: taken above, given back once.
                    unsafe { slab.give_back(addr) };
                }
                if step == 40_000 {
                    let mut sorted = live.clone();
                    sorted.sort_unstable();
                    assert!(sorted.windows(2).all(|w| w[0].0 + w[0].1 <= w[1].0));
                }
            }
            for (addr, _) in live {
                // SAFETY: taken above, given back once.
                unsafe { slab.give_back(addr) };
            }
            assert_eq!(slab.in_use(), (0, 0));
            let held: usize = slab.regions.iter().flatten().map(|r| r.used - r.spare).sum();
            assert!(held <= CLASSES, "only current chunks are kept: {held}");
        }
    }
}
