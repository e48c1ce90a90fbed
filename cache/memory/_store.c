/* The compiled store: a bounded LRU map with deadlines and exact counters.
 *
 * docs/store.md is its contract, _store_py.py its twin in Python; one suite runs on both. In the
 * order in which a reader wants it: the structures and their invariants, the clock, nodes, the
 * index, the order of use, the heap of deadlines, snapshots and walks under way, the steps that
 * change an entry, the verbs, what goes in slices, the invariants as code, the types, the module.
 *
 * The rule behind all of it: a verb is one atomic step. Arguments are checked and converted, a
 * replaced clock is asked and memory is reserved before the first change; from there on nothing
 * fails, nothing of the user's runs and no object of the garbage collector's is allocated; the
 * references that go are dropped after the last change. With the GIL that needs no lock. Without
 * it each step is a critical section of the store.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#ifdef Py_GIL_DISABLED
#define LOCK(store) Py_BEGIN_CRITICAL_SECTION(store)
#define UNLOCK() Py_END_CRITICAL_SECTION()
#else
#define LOCK(store) {
#define UNLOCK() }
#endif

#ifdef __APPLE__
#define CLOCK_EXACT CLOCK_UPTIME_RAW /* what time.monotonic() reads there */
#define CLOCK_COARSE CLOCK_UPTIME_RAW_APPROX
#else
#define CLOCK_EXACT CLOCK_MONOTONIC
#ifdef CLOCK_MONOTONIC_COARSE
#define CLOCK_COARSE CLOCK_MONOTONIC_COARSE
#else
#define CLOCK_COARSE CLOCK_MONOTONIC
#endif
#endif

#if defined(__GNUC__)
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
#else
#define LIKELY(x) (x)
#define UNLIKELY(x) (x)
#endif

/* -- structures ------------------------------------------------------------------------------ */

/* A place is a node's number. Place 0 is the sentinel of the order of use, and means "none". */
typedef uint32_t place_t;

#define CHUNK_BITS 12
#define CHUNK (1u << CHUNK_BITS)      /* nodes in a chunk: 192 KiB, of which pages are used as needed */
#define MOST_PLACES (1u << 29)        /* so that a link's shift stays below 32 */
#define LEAST_BUCKETS 16u
#define SPLITS 8                      /* buckets that one new node splits while the index grows */
#define MOST_OUTDATED 8192            /* slots of the heap below their entry's deadline: 3 ms of repairs */
#define OUTDATED (1u << 31)           /* in `places` of the heap: one of those */
#define MARGIN 1.0                    /* seconds that the coarse clock may be behind, and many more */

typedef struct {
    PyObject *key;    /* owned, exactly a str; NULL in the sentinel and in free nodes */
    PyObject *value;  /* owned */
    double deadline;  /* INFINITY: never */
    uint64_t use;     /* when it was used last, in uses of the store: grows along the order of use */
    place_t prev;     /* towards the least recently used */
    place_t next;     /* towards the most recently used; in free nodes, the next free one */
    uint32_t link;    /* tagged place of the next node in its bucket */
    uint32_t slot;    /* 1 + its slot in the heap; 0: none */
} node_t;

typedef struct {
    uint32_t collectable;  /* nodes whose value the garbage collector may track */
    node_t nodes[CHUNK];
} chunk_t;

struct snapshot;
struct walk;
static struct PyModuleDef store_module;

/* What a store holds. Two stores swap it whole: that is how content is replaced in one step.
 *
 * Nodes stand in chunks and never move, so a place is good for as long as its entry is there.
 *
 * The index: `heads[b]` is the tagged place of the first node in bucket b, 0 for none; `link` is
 * the next one. The tag is as many bits of the hash as the place leaves of the 32. `buckets` is a
 * power of two; while the index grows, `heads` has twice as many, and the buckets below `split`
 * are two already, with one more bit of place in their links. Growing begins when `top` reaches
 * `buckets`, each new node splits some, and so it ends long before `top` needs the further bit.
 *
 * The order of use is a ring of places through the sentinel: its `next` is the least recently
 * used, its `prev` the most recently used. `use` grows along it.
 *
 * The heap, of four children a slot, has at most one slot for each entry. Its time is the entry's
 * deadline or an earlier one: a deadline that moves later leaves it alone, and it is put right
 * when it comes up. There are `outdated` such slots, MOST_OUTDATED at most.
 */
typedef struct {
    chunk_t **chunks;
    uint32_t chunk_count, chunk_room;
    uint32_t top;      /* places below have been handed out */
    place_t free;      /* the first of the nodes that were given back */
    uint32_t size;     /* entries */

    uint32_t *heads;
    uint32_t head_room;  /* how many `heads` has room for */
    uint32_t buckets, split;
    int shift;         /* bits of a place in the links of buckets that are not split */

    double *times;
    place_t *places;
    uint32_t heap_size, heap_room;
    uint32_t outdated;

    uint64_t uses;
    struct snapshot *snapshots;  /* those under way */
    struct walk *walks;          /* those that note writes */
} content_t;

typedef struct {
    PyObject *clock;      /* what a test has put in place of `time.monotonic`, or NULL */
    PyObject *plain_key, *plain_keys, *pairs, *seconds, *amount, *number;  /* of cache.arguments */
    PyObject *miss_name;  /* "_get_or_set_missing" */
    PyTypeObject *store_type, *snapshot_type, *walk_type;
} state_t;

typedef struct {
    PyObject_HEAD
    PyObject *module;     /* so that its state lives as long as the store */
    state_t *state;
    content_t in;
    content_t rest;       /* what `_release` has not let go of yet */
    uint32_t max_size;
    double default_life;
    uint64_t counted[4];  /* see the names below */
    uint64_t generation;  /* goes up with each swap */
    double trusted;       /* up to when `_read` answers; INFINITY: always */
    PyObject *watched;    /* dict: key to whether it was written or removed since, or NULL */
    PyObject *weakrefs;
} store_t;

typedef struct {
    uint64_t use;
    PyObject *key, *value;  /* owned */
    double deadline;
} row_t;

/* One moment of a store, read in slices while the store goes on. What is about to change before
 * it has been read is set aside first. */
typedef struct snapshot {
    PyObject_HEAD
    store_t *owner;         /* owned; who has the content now; NULL at the end */
    struct snapshot *next;  /* in the content's list */
    uint64_t start;         /* entries used later were there already only if they are set aside */
    uint64_t reached;       /* entries used up to here have been read */
    double now;
    place_t cursor;         /* the next in the order of use; 0: the end */
    uint32_t left;          /* rows that are still to come */
    row_t *aside;           /* a binary heap by `use` */
    size_t aside_size, aside_room;
} snapshot_t;

/* A walk over the keys in no order; one that notes can delete what nobody has written since. */
typedef struct walk {
    PyObject_HEAD
    store_t *owner;     /* owned */
    struct walk *next;  /* in the content's list, where it notes */
    uint64_t generation;
    uint32_t at, end;
    unsigned char *written;  /* a bit for each place below `end`, or NULL */
} walk_t;

enum { HITS, MISSES, EVICTIONS, EXPIRATIONS };

/* References that go, to be dropped after the step. */
typedef struct {
    Py_ssize_t count;
    PyObject **items;
    PyObject *few[8];
} drops_t;

static inline node_t *
node_at(const content_t *in, place_t place)
{
    return &in->chunks[place >> CHUNK_BITS]->nodes[place & (CHUNK - 1)];
}

static inline uint32_t *
collectable_at(const content_t *in, place_t place)
{
    return &in->chunks[place >> CHUNK_BITS]->collectable;
}

static int
drops_init(drops_t *drops, Py_ssize_t most)
{
    drops->count = 0;
    drops->items = drops->few;
    if (most > (Py_ssize_t)(sizeof(drops->few) / sizeof(drops->few[0]))) {
        drops->items = PyMem_New(PyObject *, most);
        if (drops->items == NULL) {
            PyErr_NoMemory();
            return -1;
        }
    }
    return 0;
}

static inline void
drops_add(drops_t *drops, PyObject *reference)
{
    drops->items[drops->count++] = reference;
}

/* Anything may run in here; so it comes last. An error that is set stays: finalizers put it aside. */
static void
drops_release(drops_t *drops)
{
    for (Py_ssize_t i = 0; i < drops->count; i++) {
        Py_DECREF(drops->items[i]);
    }
    if (drops->items != drops->few) {
        PyMem_Free(drops->items);
    }
}

/* -- the clock ------------------------------------------------------------------------------- */

static inline double
exact_time(void)
{
    struct timespec t;
    clock_gettime(CLOCK_EXACT, &t);
    return (double)((int64_t)t.tv_sec * 1000000000 + t.tv_nsec) / 1e9; /* as time.monotonic() */
}

static inline double
coarse_time(void)
{
    struct timespec t;
    clock_gettime(CLOCK_COARSE, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* What a step knows of the time. Read when it is first needed; a clock that a test has put in
 * place runs Python, so that one is asked before the step. */
typedef struct {
    double now;
    int known;
} moment_t;

static int
ask_replaced_clock(state_t *state, moment_t *moment)
{
    PyObject *clock = Py_NewRef(state->clock);
    PyObject *read = PyObject_CallNoArgs(clock);
    Py_DECREF(clock);
    if (read == NULL) {
        return -1;
    }
    moment->now = PyFloat_AsDouble(read);
    moment->known = 1;
    Py_DECREF(read);
    if (moment->now == -1.0 && PyErr_Occurred()) {
        return -1;
    }
    if (isnan(moment->now)) { /* no order of deadlines would hold */
        PyErr_SetString(PyExc_ValueError, "the clock returned NaN");
        return -1;
    }
    return 0;
}

static inline int
moment_begin(store_t *self, moment_t *moment)
{
    moment->known = 0;
    moment->now = 0.0;
    return UNLIKELY(self->state->clock != NULL) ? ask_replaced_clock(self->state, moment) : 0;
}

static inline double
moment_now(moment_t *moment)
{
    if (!moment->known) {
        moment->now = exact_time();
        moment->known = 1;
    }
    return moment->now;
}

/* The one rule of expiry: an entry is live before its deadline, and no longer. */
static inline int
is_live(double deadline, moment_t *moment)
{
    if (deadline == INFINITY) {
        return 1;
    }
    if (!moment->known && deadline > coarse_time() + MARGIN) {
        return 1;
    }
    return deadline > moment_now(moment);
}

/* -- nodes ----------------------------------------------------------------------------------- */

/* Make sure that `more` nodes can be taken without failing. */
static int
reserve_nodes(content_t *in, uint32_t more)
{
    /* Free nodes are not counted: so far as they go, the reserve is larger than it need be. */
    if (more > MOST_PLACES - in->top) {
        PyErr_NoMemory();
        return -1;
    }
    uint32_t chunks = ((in->top + more - 1) >> CHUNK_BITS) + 1;
    if (chunks <= in->chunk_count) {
        return 0;
    }
    if (chunks > in->chunk_room) {
        uint32_t room = chunks + chunks / 2;
        chunk_t **table = PyMem_RawRealloc(in->chunks, room * sizeof(*table));
        if (table == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        in->chunks = table;
        in->chunk_room = room;
    }
    while (in->chunk_count < chunks) {
        chunk_t *chunk = PyMem_RawMalloc(sizeof(*chunk));
        if (chunk == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        chunk->collectable = 0;
        in->chunks[in->chunk_count++] = chunk;
    }
    return 0;
}

static inline int
reserve_node(content_t *in)
{
    return LIKELY(in->top < in->chunk_count << CHUNK_BITS) ? 0 : reserve_nodes(in, 1);
}

/* -- the index ------------------------------------------------------------------------------- */

static inline Py_hash_t
hash_of(PyObject *key)
{
    Py_hash_t hash = ((PyASCIIObject *)key)->hash;
    return LIKELY(hash != -1) ? hash : PyObject_Hash(key);
}

static inline int
same_text(PyObject *a, PyObject *b)
{
    Py_ssize_t length = PyUnicode_GET_LENGTH(a);
    unsigned int kind = PyUnicode_KIND(a);
    return length == PyUnicode_GET_LENGTH(b) && kind == (unsigned int)PyUnicode_KIND(b)
           && memcmp(PyUnicode_DATA(a), PyUnicode_DATA(b), (size_t)length * kind) == 0;
}

/* Where a hash belongs: its bucket, and how many bits a place has in the links there. */
static inline uint32_t
bucket_of(const content_t *in, Py_hash_t hash, int *shift)
{
    uint32_t bucket = (uint32_t)hash & (in->buckets - 1);
    *shift = in->shift;
    if (bucket < in->split) {
        bucket = (uint32_t)hash & (2 * in->buckets - 1);
        *shift += 1;
    }
    return bucket;
}

static inline uint32_t
tag_of(Py_hash_t hash, int shift)
{
    return (uint32_t)((uint64_t)hash >> 32) & (UINT32_MAX << shift);
}

static inline place_t
find(const content_t *in, PyObject *key, Py_hash_t hash)
{
    int shift;
    uint32_t link = in->heads[bucket_of(in, hash, &shift)];
    uint32_t tags = UINT32_MAX << shift, tag = tag_of(hash, shift);
    while (link) {
        place_t place = link & ~tags;
        const node_t *node = node_at(in, place);
        if ((link & tags) == tag
            && (node->key == key
                || (((PyASCIIObject *)node->key)->hash == hash && same_text(node->key, key)))) {
            return place;
        }
        link = node->link;
    }
    return 0;
}

static void
index_add(content_t *in, place_t place, Py_hash_t hash)
{
    int shift;
    uint32_t *head = &in->heads[bucket_of(in, hash, &shift)];
    node_at(in, place)->link = *head;
    *head = place | tag_of(hash, shift);
}

static void
index_remove(content_t *in, place_t place)
{
    int shift;
    uint32_t *link = &in->heads[bucket_of(in, hash_of(node_at(in, place)->key), &shift)];
    uint32_t places = ~(UINT32_MAX << shift);
    while ((*link & places) != place) {
        link = &node_at(in, *link & places)->link;
    }
    *link = node_at(in, place)->link;
}

/* Make two buckets of the next one that is still one. */
static void
index_split(content_t *in)
{
    uint32_t places = ~(UINT32_MAX << in->shift);
    uint32_t link = in->heads[in->split];
    uint32_t *tails[2] = {&in->heads[in->split], &in->heads[in->split + in->buckets]};
    *tails[0] = *tails[1] = 0;
    while (link) {
        place_t place = link & places;
        node_t *node = node_at(in, place);
        Py_hash_t hash = hash_of(node->key);
        int upper = ((uint32_t)hash & in->buckets) != 0;
        link = node->link;
        *tails[upper] = place | tag_of(hash, in->shift + 1);
        tails[upper] = &node->link;
        node->link = 0;
    }
    if (++in->split == in->buckets) {
        in->buckets *= 2;
        in->shift += 1;
        in->split = 0;
    }
}

/* Make sure that the index can grow for `more` new nodes without failing. */
static int
reserve_index(content_t *in, uint32_t more)
{
    if (LIKELY(in->top + more <= in->buckets)) {
        return 0;
    }
    uint32_t room = in->buckets;
    while (room < in->top + more) {
        room *= 2;
    }
    if (room <= in->head_room) {
        return 0;
    }
    uint32_t *heads = PyMem_RawRealloc(in->heads, (size_t)room * sizeof(*heads));
    if (heads == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    in->heads = heads;
    in->head_room = room;
    return 0;
}

/* -- the order of use ------------------------------------------------------------------------ */

static inline void
ring_remove(content_t *in, node_t *node)
{
    node_at(in, node->prev)->next = node->next;
    node_at(in, node->next)->prev = node->prev;
}

static inline void
ring_append(content_t *in, node_t *node, place_t place)
{
    node_t *sentinel = node_at(in, 0);
    node->next = 0;
    node->prev = sentinel->prev;
    node_at(in, sentinel->prev)->next = place;
    sentinel->prev = place;
    node->use = ++in->uses;
}

/* -- the heap of deadlines ------------------------------------------------------------------- */

static int
reserve_heap(content_t *in, uint32_t more)
{
    if (LIKELY(more <= in->heap_room - in->heap_size)) {
        return 0;
    }
    size_t room = (size_t)in->heap_room + in->heap_room / 8 + more + 8;
    double *times = PyMem_RawRealloc(in->times, room * sizeof(*times));
    if (times == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    in->times = times;
    place_t *places = PyMem_RawRealloc(in->places, room * sizeof(*places));
    if (places == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    in->places = places;
    in->heap_room = (uint32_t)room;
    return 0;
}

/* `place` may be marked as OUTDATED. */
static inline void
heap_put(content_t *in, uint32_t slot, double time, place_t place)
{
    in->times[slot] = time;
    in->places[slot] = place;
    node_at(in, place & ~OUTDATED)->slot = slot + 1;
}

/* Put (time, place) where `slot` is free, or above it. */
static void
heap_rise(content_t *in, uint32_t slot, double time, place_t place)
{
    while (slot) {
        uint32_t parent = (slot - 1) / 4;
        if (in->times[parent] <= time) {
            break;
        }
        heap_put(in, slot, in->times[parent], in->places[parent]);
        slot = parent;
    }
    heap_put(in, slot, time, place);
}

/* Put (time, place) where `slot` is free, or below it. */
static void
heap_sink(content_t *in, uint32_t slot, double time, place_t place)
{
    for (;;) {
        uint64_t child = 4 * (uint64_t)slot + 1;
        if (child >= in->heap_size) {
            break;
        }
        uint64_t end = child + 4 < in->heap_size ? child + 4 : in->heap_size;
        uint64_t least = child;
        while (++child < end) {
            if (in->times[child] < in->times[least]) {
                least = child;
            }
        }
        if (time <= in->times[least]) {
            break;
        }
        heap_put(in, slot, in->times[least], in->places[least]);
        slot = (uint32_t)least;
    }
    heap_put(in, slot, time, place);
}

static void
heap_remove(content_t *in, node_t *node)
{
    uint32_t slot = node->slot - 1;
    if (in->times[slot] != node->deadline) {
        in->outdated--;
    }
    node->slot = 0;
    uint32_t last = --in->heap_size;
    if (slot != last) {
        double time = in->times[last];
        place_t place = in->places[last];
        if (slot && in->times[(slot - 1) / 4] > time) {
            heap_rise(in, slot, time, place);
        }
        else {
            heap_sink(in, slot, time, place);
        }
    }
}

/* Give an entry its deadline; a slot for it must have been reserved. */
static void
set_deadline(content_t *in, node_t *node, place_t place, double deadline)
{
    double former = node->deadline;
    node->deadline = deadline;
    if (!node->slot) {
        if (deadline != INFINITY) {
            heap_rise(in, in->heap_size++, deadline, place);
        }
        return;
    }
    uint32_t slot = node->slot - 1;
    double time = in->times[slot];
    int was = time != former;
    if (deadline < time) {
        in->outdated -= was;
        heap_rise(in, slot, deadline, place);
    }
    else if (was || deadline == time || in->outdated < MOST_OUTDATED) {
        in->outdated += (deadline != time) - was;
        in->places[slot] = deadline != time ? place | OUTDATED : place;
    }
    else if (deadline == INFINITY) {
        node->deadline = time; /* so that it counts as up to date */
        heap_remove(in, node);
        node->deadline = INFINITY;
    }
    else {
        heap_sink(in, slot, deadline, place);
    }
}

/* Return the place of an entry that has expired, or 0. Puts outdated slots right on its way. */
static place_t
first_expired(content_t *in, moment_t *moment)
{
    while (in->heap_size) {
        double time = in->times[0];
        if (is_live(time, moment)) {
            return 0;
        }
        place_t place = in->places[0] & ~OUTDATED;
        node_t *node = node_at(in, place);
        if (node->deadline == time) {
            return place;
        }
        if (node->deadline == INFINITY) {
            heap_remove(in, node);
        }
        else {
            in->outdated--;
            heap_sink(in, 0, node->deadline, place);
        }
    }
    return 0;
}

/* -- snapshots and walks under way ----------------------------------------------------------- */

static int
aside_reserve(content_t *in, size_t changes)
{
    for (snapshot_t *snapshot = in->snapshots; snapshot; snapshot = snapshot->next) {
        size_t room = snapshot->aside_size + (changes < snapshot->left ? changes : snapshot->left);
        if (room > snapshot->aside_room) {
            room += room / 2 + 64;
            row_t *aside = PyMem_RawRealloc(snapshot->aside, room * sizeof(*aside));
            if (aside == NULL) {
                PyErr_NoMemory();
                return -1;
            }
            snapshot->aside = aside;
            snapshot->aside_room = room;
        }
    }
    return 0;
}

static inline int
reserve_aside(content_t *in, size_t changes)
{
    return LIKELY(in->snapshots == NULL) ? 0 : aside_reserve(in, changes);
}

static void
set_aside(content_t *in, const node_t *node, place_t place)
{
    for (snapshot_t *snapshot = in->snapshots; snapshot; snapshot = snapshot->next) {
        if (snapshot->cursor == place) {
            snapshot->cursor = node->next;
        }
        if (node->use > snapshot->start || node->use <= snapshot->reached
            || node->deadline <= snapshot->now) {
            continue;
        }
        size_t at = snapshot->aside_size++;
        row_t *aside = snapshot->aside;
        while (at && aside[(at - 1) / 2].use > node->use) {
            aside[at] = aside[(at - 1) / 2];
            at = (at - 1) / 2;
        }
        aside[at] = (row_t){node->use, Py_NewRef(node->key), Py_NewRef(node->value), node->deadline};
    }
}

static row_t
take_aside(snapshot_t *snapshot)
{
    row_t *aside = snapshot->aside, first = aside[0], last = aside[--snapshot->aside_size];
    size_t at = 0, size = snapshot->aside_size;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= size) {
            break;
        }
        if (child + 1 < size && aside[child + 1].use < aside[child].use) {
            child++;
        }
        if (last.use <= aside[child].use) {
            break;
        }
        aside[at] = aside[child];
        at = child;
    }
    if (size) {
        aside[at] = last;
    }
    return first;
}

/* Call it before an entry changes, moves or goes. */
static inline void
before_change(content_t *in, const node_t *node, place_t place)
{
    if (UNLIKELY(in->snapshots != NULL)) {
        set_aside(in, node, place);
    }
}

static void
walks_note(content_t *in, place_t place)
{
    for (walk_t *walk = in->walks; walk; walk = walk->next) {
        if (place < walk->end) {
            walk->written[place / 8] |= (unsigned char)(1u << place % 8);
        }
    }
}

/* A walk does not follow content that leaves its store: it finds another generation there. */
static void
walks_end(content_t *in)
{
    while (in->walks) {
        walk_t *walk = in->walks;
        in->walks = walk->next;
        walk->next = NULL;
        PyMem_RawFree(walk->written);
        walk->written = NULL;
    }
}

static void
watched_note(store_t *self, PyObject *key)
{
    /* An exact str, in a dict that has it already: nothing is allocated, and nothing else runs. */
    if (PyDict_GetItemWithError(self->watched, key) != NULL) {
        PyDict_SetItem(self->watched, key, Py_True);
    }
}

/* Call it whenever a key is written, or removed by a caller, whether or not it was there. */
static inline void
note_change(store_t *self, PyObject *key)
{
    if (UNLIKELY(self->watched != NULL)) {
        watched_note(self, key);
    }
}

/* -- steps ----------------------------------------------------------------------------------- */

static inline int
is_collectable(PyObject *value)
{
    return PyType_IS_GC(Py_TYPE(value));
}

static inline void
use(content_t *in, node_t *node, place_t place)
{
    before_change(in, node, place);
    if (node->next == 0) { /* the most recently used one already */
        node->use = ++in->uses;
        return;
    }
    ring_remove(in, node);
    ring_append(in, node, place);
}

/* Remove an entry; its key and value go to `drops`. */
static void
remove_entry(content_t *in, place_t place, drops_t *drops)
{
    node_t *node = node_at(in, place);
    before_change(in, node, place);
    index_remove(in, place);
    ring_remove(in, node);
    if (node->slot) {
        heap_remove(in, node);
    }
    *collectable_at(in, place) -= (uint32_t)is_collectable(node->value);
    drops_add(drops, node->key);
    drops_add(drops, node->value);
    node->key = node->value = NULL;
    node->next = in->free;
    in->free = place;
    in->size--;
}

static inline void
expire(store_t *self, place_t place, drops_t *drops)
{
    remove_entry(&self->in, place, drops);
    self->counted[EXPIRATIONS]++;
}

/* Return the place of the live entry at `key`, or 0; an expired one is removed. */
static inline place_t
find_live(store_t *self, PyObject *key, Py_hash_t hash, moment_t *moment, drops_t *drops)
{
    place_t place = find(&self->in, key, hash);
    if (place && UNLIKELY(!is_live(node_at(&self->in, place)->deadline, moment))) {
        expire(self, place, drops);
        return 0;
    }
    return place;
}

/* Reserve what one `store_entry` may need. */
static inline int
reserve_store(content_t *in, double life)
{
    if (!in->free && (reserve_node(in) < 0 || reserve_index(in, 1) < 0)) {
        return -1;
    }
    if (reserve_aside(in, 2) < 0) {
        return -1;
    }
    return life == INFINITY ? 0 : reserve_heap(in, 1);
}

/* Put `value` at `key`, where `place` is its entry, which may have expired, or 0. At most two
 * references go. */
static void
store_entry(store_t *self, place_t place, PyObject *key, Py_hash_t hash, PyObject *value,
            double life, moment_t *moment, drops_t *drops)
{
    content_t *in = &self->in;
    node_t *node;
    if (place) {
        node = node_at(in, place);
        before_change(in, node, place);
        if (!is_live(node->deadline, moment)) {
            self->counted[EXPIRATIONS]++;
        }
        *collectable_at(in, place) -= (uint32_t)is_collectable(node->value);
        drops_add(drops, node->value);
        if (node->next != 0) {
            ring_remove(in, node);
            ring_append(in, node, place);
        }
        else {
            node->use = ++in->uses;
        }
    }
    else {
        if (in->size >= self->max_size) {
            place_t victim = first_expired(in, moment);
            if (victim) {
                expire(self, victim, drops);
            }
            else {
                victim = node_at(in, 0)->next;
                self->counted[EVICTIONS]++;
                remove_entry(in, victim, drops);
            }
        }
        if (in->free) {
            place = in->free;
            node = node_at(in, place);
            in->free = node->next;
        }
        else {
            place = in->top++;
            node = node_at(in, place);
            if (place >= in->buckets && !in->split) {
                index_split(in); /* begins to double it */
            }
            for (int i = 0; in->split && i < SPLITS; i++) {
                index_split(in);
            }
        }
        node->key = Py_NewRef(key);
        node->slot = 0;
        node->deadline = INFINITY;
        index_add(in, place, hash);
        ring_append(in, node, place);
        in->size++;
    }
    node->value = Py_NewRef(value);
    *collectable_at(in, place) += (uint32_t)is_collectable(value);
    if (life != INFINITY || node->slot) {
        set_deadline(in, node, place, life == INFINITY ? INFINITY : moment_now(moment) + life);
    }
    else {
        node->deadline = INFINITY;
    }
    if (UNLIKELY(in->walks != NULL)) {
        walks_note(in, place);
    }
    note_change(self, key);
}

/* -- content as a whole ----------------------------------------------------------------------- */

static void
content_free(content_t *in)
{
    for (uint32_t chunk = 0; chunk < in->chunk_count; chunk++) {
        PyMem_RawFree(in->chunks[chunk]);
    }
    PyMem_RawFree(in->chunks);
    PyMem_RawFree(in->heads);
    PyMem_RawFree(in->times);
    PyMem_RawFree(in->places);
    memset(in, 0, sizeof(*in));
}

static int
content_init(content_t *in)
{
    memset(in, 0, sizeof(*in));
    in->top = 1; /* the sentinel */
    in->buckets = in->head_room = LEAST_BUCKETS;
    in->shift = 5;
    in->chunks = PyMem_RawCalloc(1, sizeof(*in->chunks));
    in->heads = PyMem_RawCalloc(LEAST_BUCKETS, sizeof(*in->heads));
    chunk_t *chunk = PyMem_RawMalloc(sizeof(*chunk));
    if (in->chunks == NULL || in->heads == NULL || chunk == NULL) {
        PyMem_RawFree(chunk);
        content_free(in);
        PyErr_NoMemory();
        return -1;
    }
    in->chunks[0] = chunk;
    in->chunk_count = in->chunk_room = 1;
    chunk->collectable = 0;
    memset(&chunk->nodes[0], 0, sizeof(chunk->nodes[0]));
    return 0;
}

/* Drop the references of all nodes; the content must have been taken out of its store. */
static void
content_drop(content_t *in)
{
    for (place_t place = 1; place < in->top; place++) {
        node_t *node = node_at(in, place);
        if (node->key != NULL) {
            Py_DECREF(node->key);
            Py_DECREF(node->value);
        }
    }
    content_free(in);
}

/* -- arguments ------------------------------------------------------------------------------- */

/* What a verb takes: names in order, how many are required, how many may stand by position. */
typedef struct {
    const char *verb;
    const char *names[5];
    int required, positional, most;
} takes_t;

static int
bind_slowly(const takes_t *takes, PyObject *const *args, Py_ssize_t count, PyObject *names,
            PyObject **found)
{
    if (count > takes->positional) {
        PyErr_Format(PyExc_TypeError, "%s() takes at most %d positional arguments (%zd given)",
                     takes->verb, takes->positional, count);
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        found[i] = args[i];
    }
    for (Py_ssize_t i = 0; names != NULL && i < PyTuple_GET_SIZE(names); i++) {
        PyObject *name = PyTuple_GET_ITEM(names, i);
        int at = 0;
        while (at < takes->most && PyUnicode_CompareWithASCIIString(name, takes->names[at]) != 0) {
            at++;
        }
        if (at == takes->most) {
            PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument '%U'",
                         takes->verb, name);
            return -1;
        }
        if (found[at] != NULL) {
            PyErr_Format(PyExc_TypeError, "%s() got multiple values for argument '%s'",
                         takes->verb, takes->names[at]);
            return -1;
        }
        found[at] = args[count + i];
    }
    for (int i = 0; i < takes->required; i++) {
        if (found[i] == NULL) {
            PyErr_Format(PyExc_TypeError, "%s() missing required argument: '%s'", takes->verb,
                         takes->names[i]);
            return -1;
        }
    }
    return 0;
}

/* Put the arguments of a call into `found`, borrowed, NULL for those that are not given. */
static inline int
bind(const takes_t *takes, PyObject *const *args, Py_ssize_t count, PyObject *names,
     PyObject **found)
{
    for (int i = 0; i < takes->most; i++) {
        found[i] = NULL;
    }
    if (LIKELY(names == NULL && count >= takes->required && count <= takes->positional)) {
        for (Py_ssize_t i = 0; i < count; i++) {
            found[i] = args[i];
        }
        return 0;
    }
    return bind_slowly(takes, args, count, names, found);
}

/* Make `*key` a plain str, borrowed from the arguments or from `*converted`. */
static inline int
plain_key(store_t *self, PyObject **key, PyObject **converted)
{
    *converted = NULL;
    if (UNLIKELY(!PyUnicode_CheckExact(*key))) {
        *key = *converted = PyObject_CallOneArg(self->state->plain_key, *key);
        if (*key == NULL) {
            return -1;
        }
    }
#if PY_VERSION_HEX < 0x030C0000
    if (PyUnicode_READY(*key) < 0) {
        Py_CLEAR(*converted);
        return -1;
    }
#endif
    return 0;
}

/* Return the keys of a call as a new list of plain str. */
static PyObject *
plain_keys(store_t *self, PyObject *keys)
{
    if (PyList_CheckExact(keys) || PyTuple_CheckExact(keys)) {
        PyObject *list = PySequence_List(keys);
        Py_ssize_t size = list == NULL ? 0 : PyList_GET_SIZE(list), i = 0;
        while (i < size && PyUnicode_CheckExact(PyList_GET_ITEM(list, i))) {
            i++;
        }
        if (list == NULL || i == size) {
            return list;
        }
        Py_DECREF(list);
    }
    return PyObject_CallOneArg(self->state->plain_keys, keys);
}

/* Return the items of a mapping as a new list of pairs whose keys are plain str. */
static PyObject *
plain_pairs(store_t *self, PyObject *mapping)
{
    if (PyDict_CheckExact(mapping)) {
        PyObject *pairs = PyDict_Items(mapping);
        Py_ssize_t size = pairs == NULL ? 0 : PyList_GET_SIZE(pairs), i = 0;
        while (i < size && PyUnicode_CheckExact(PyTuple_GET_ITEM(PyList_GET_ITEM(pairs, i), 0))) {
            i++;
        }
        if (pairs == NULL || i == size) {
            return pairs;
        }
        Py_DECREF(pairs);
    }
    return PyObject_CallOneArg(self->state->pairs, mapping);
}

static int
life_by_helper(store_t *self, PyObject *ttl, double *life)
{
    PyObject *seconds = PyObject_CallOneArg(self->state->seconds, ttl);
    if (seconds == NULL) {
        return -1;
    }
    *life = PyFloat_AsDouble(seconds);
    Py_DECREF(seconds);
    return *life == -1.0 && PyErr_Occurred() ? -1 : 0;
}

/* Return in `life` the seconds that a caller's ttl stands for. */
static inline int
life_of(store_t *self, PyObject *ttl, double *life)
{
    if (ttl == NULL || ttl == Py_None) {
        *life = self->default_life;
        return 0;
    }
    if (PyFloat_CheckExact(ttl)) {
        *life = PyFloat_AS_DOUBLE(ttl);
        if (LIKELY(*life > 0)) {
            return 0;
        }
    }
    else if (PyLong_CheckExact(ttl)) {
        int overflow;
        long seconds = PyLong_AsLongAndOverflow(ttl, &overflow);
        if (LIKELY(seconds > 0)) {
            *life = (double)seconds;
            return 0;
        }
    }
    return life_by_helper(self, ttl, life);
}

/* Check the seconds that the layer above gave. */
static int
check_life(double life)
{
    if (life > 0) {
        return 0;
    }
    PyErr_SetString(PyExc_ValueError, "a life must be above zero");
    return -1;
}

static PyObject *
or_none(PyObject *given)
{
    return Py_NewRef(given != NULL ? given : Py_None);
}

/* -- verbs: reading -------------------------------------------------------------------------- */

static PyObject *
store_get(store_t *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    static const takes_t takes = {"get", {"key", "default"}, 1, 2, 2};
    PyObject *given[2], *converted, *value = NULL;
    moment_t moment;
    drops_t drops;
    int failed;
    if (bind(&takes, args, count, names, given) < 0 || plain_key(self, &given[0], &converted) < 0) {
        return NULL;
    }
    if (moment_begin(self, &moment) < 0) {
        Py_XDECREF(converted);
        return NULL;
    }
    Py_hash_t hash = hash_of(given[0]);
    drops_init(&drops, 2);
    LOCK(self)
    failed = reserve_aside(&self->in, 1);
    if (LIKELY(!failed)) {
        place_t place = find_live(self, given[0], hash, &moment, &drops);
        if (place) {
            node_t *node = node_at(&self->in, place);
            use(&self->in, node, place);
            self->counted[HITS]++;
            value = Py_NewRef(node->value);
        }
        else {
            self->counted[MISSES]++;
        }
    }
    UNLOCK()
    if (value == NULL && !failed) {
        value = or_none(given[1]);
    }
    drops_release(&drops);
    Py_XDECREF(converted);
    return value;
}

static PyObject *
store_subscript(store_t *self, PyObject *key)
{
    PyObject *converted, *value = NULL;
    moment_t moment;
    drops_t drops;
    int failed;
    if (plain_key(self, &key, &converted) < 0) {
        return NULL;
    }
    if (moment_begin(self, &moment) < 0) {
        Py_XDECREF(converted);
        return NULL;
    }
    Py_hash_t hash = hash_of(key);
    drops_init(&drops, 2);
    LOCK(self)
    failed = reserve_aside(&self->in, 1);
    if (!failed) {
        place_t place = find_live(self, key, hash, &moment, &drops);
        if (place) {
            node_t *node = node_at(&self->in, place);
            use(&self->in, node, place);
            self->counted[HITS]++;
            value = Py_NewRef(node->value);
        }
        else {
            self->counted[MISSES]++;
        }
    }
    UNLOCK()
    drops_release(&drops);
    if (value == NULL && !failed) {
        PyErr_SetObject(PyExc_KeyError, key);
    }
    Py_XDECREF(converted);
    return value;
}

/* Return whether `key` is live, and its deadline; -1 for an error. Counts nothing. */
static int
look(store_t *self, PyObject *key, double *deadline, moment_t *moment)
{
    PyObject *converted;
    drops_t drops;
    int live = -1;
    if (plain_key(self, &key, &converted) < 0) {
        return -1;
    }
    if (moment_begin(self, moment) < 0) {
        Py_XDECREF(converted);
        return -1;
    }
    Py_hash_t hash = hash_of(key);
    drops_init(&drops, 2);
    LOCK(self)
    if (reserve_aside(&self->in, 1) == 0) {
        place_t place = find_live(self, key, hash, moment, &drops);
        live = place != 0;
        if (live) {
            *deadline = node_at(&self->in, place)->deadline;
        }
    }
    UNLOCK()
    drops_release(&drops);
    Py_XDECREF(converted);
    return live;
}

static int
store_contains(store_t *self, PyObject *key)
{
    double deadline;
    moment_t moment;
    return look(self, key, &deadline, &moment);
}

static PyObject *
store_exists(store_t *self, PyObject *key)
{
    int live = store_contains(self, key);
    return live < 0 ? NULL : PyBool_FromLong(live);
}

static PyObject *
store_ttl(store_t *self, PyObject *key)
{
    double deadline;
    moment_t moment;
    int live = look(self, key, &deadline, &moment);
    if (live < 0) {
        return NULL;
    }
    if (!live) {
        Py_RETURN_NONE;
    }
    double left = deadline == INFINITY ? INFINITY : deadline - moment_now(&moment);
    if (left <= 0) { /* since the look */
        Py_RETURN_NONE;
    }
    return PyFloat_FromDouble(left);
}

/* Return the value at `key`, or `default`; no read is counted, and nothing moves or goes. */
static PyObject *
store_peek(store_t *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    static const takes_t takes = {"peek", {"key", "default"}, 1, 2, 2};
    PyObject *given[2], *converted, *value = NULL;
    moment_t moment;
    if (bind(&takes, args, count, names, given) < 0 || plain_key(self, &given[0], &converted) < 0) {
        return NULL;
    }
    if (moment_begin(self, &moment) < 0) {
        Py_XDECREF(converted);
        return NULL;
    }
    Py_hash_t hash = hash_of(given[0]);
    LOCK(self)
    place_t place = find(&self->in, given[0], hash);
    if (place && is_live(node_at(&self->in, place)->deadline, &moment)) {
        value = Py_NewRef(node_at(&self->in, place)->value);
    }
    UNLOCK()
    Py_XDECREF(converted);
    return value != NULL ? value : or_none(given[1]);
}

/* Return the value at a plain key as `get` does while the store is trusted; else, and for any other
 * key, `default`, which counts as nothing. */
static PyObject *
store_read(store_t *self, PyObject *const *args, Py_ssize_t count)
{
    PyObject *value = NULL;
    moment_t moment;
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "_read() takes a key and a default");
        return NULL;
    }
    if (UNLIKELY(!PyUnicode_CheckExact(args[0]))) {
        return Py_NewRef(args[1]);
    }
    if (moment_begin(self, &moment) < 0) {
        return NULL;
    }
    Py_hash_t hash = hash_of(args[0]);
    int failed;
    LOCK(self)
    failed = reserve_aside(&self->in, 1);
    place_t place = failed ? 0 : find(&self->in, args[0], hash);
    if (place) {
        node_t *node = node_at(&self->in, place);
        double bound = node->deadline < self->trusted ? node->deadline : self->trusted;
        if (is_live(bound, &moment)) {
            use(&self->in, node, place);
            self->counted[HITS]++;
            value = Py_NewRef(node->value);
        }
    }
    UNLOCK()
    return failed ? NULL : value != NULL ? value : Py_NewRef(args[1]);
}

/* Return the values at all of a list of plain keys, one a use and a hit each, or None where the
 * store is not trusted or one of them is missing; that counts as nothing. */
static PyObject *
store_read_many(store_t *self, PyObject *keys)
{
    moment_t moment;
    int failed, all;
    keys = plain_keys(self, keys);
    if (keys == NULL) {
        return NULL;
    }
    PyObject *found = PyDict_New();
    if (found == NULL || moment_begin(self, &moment) < 0) {
        Py_XDECREF(found);
        Py_DECREF(keys);
        return NULL;
    }
    moment_now(&moment);
    Py_ssize_t size = PyList_GET_SIZE(keys);
    LOCK(self)
    failed = reserve_aside(&self->in, (size_t)size);
    all = is_live(self->trusted, &moment);
    for (Py_ssize_t i = 0; !failed && all && i < size; i++) {
        PyObject *key = PyList_GET_ITEM(keys, i);
        place_t place = find(&self->in, key, hash_of(key));
        all = place && is_live(node_at(&self->in, place)->deadline, &moment);
        if (all) {
            failed = PyDict_SetItem(found, key, node_at(&self->in, place)->value);
        }
    }
    for (Py_ssize_t i = 0; !failed && all && i < size; i++) {
        PyObject *key = PyList_GET_ITEM(keys, i);
        place_t place = find(&self->in, key, hash_of(key));
        use(&self->in, node_at(&self->in, place), place);
        self->counted[HITS]++;
    }
    UNLOCK()
    Py_DECREF(keys);
    if (failed || !all) {
        Py_DECREF(found);
        return failed ? NULL : Py_NewRef(Py_None);
    }
    return found;
}

/* Let `_read` answer until the clock says so; -inf: not at all. */
static PyObject *
store_trust(store_t *self, PyObject *argument)
{
    double until = PyFloat_AsDouble(argument);
    if (until == -1.0 && PyErr_Occurred()) {
        return NULL;
    }
    LOCK(self)
    self->trusted = until;
    UNLOCK()
    Py_RETURN_NONE;
}

static PyObject *
store_get_many(store_t *self, PyObject *keys)
{
    moment_t moment;
    drops_t drops;
    int failed;
    PyObject *wanted = plain_keys(self, keys);
    if (wanted == NULL) {
        return NULL;
    }
    PyObject *found = PyDict_New();
    Py_ssize_t size = PyList_GET_SIZE(wanted);
    if (found == NULL || moment_begin(self, &moment) < 0 || drops_init(&drops, 2 * size) < 0) {
        Py_XDECREF(found);
        Py_DECREF(wanted);
        return NULL;
    }
    moment_now(&moment);
    LOCK(self)
    failed = reserve_aside(&self->in, (size_t)size);
    /* What may fail comes first: then nothing has been counted or moved. */
    for (Py_ssize_t i = 0; !failed && i < size; i++) {
        PyObject *key = PyList_GET_ITEM(wanted, i);
        place_t place = find(&self->in, key, hash_of(key));
        if (place && is_live(node_at(&self->in, place)->deadline, &moment)) {
            failed = PyDict_SetItem(found, key, node_at(&self->in, place)->value);
        }
    }
    for (Py_ssize_t i = 0; !failed && i < size; i++) {
        PyObject *key = PyList_GET_ITEM(wanted, i);
        place_t place = find_live(self, key, hash_of(key), &moment, &drops);
        if (place) {
            use(&self->in, node_at(&self->in, place), place);
            self->counted[HITS]++;
        }
        else {
            self->counted[MISSES]++;
        }
    }
    UNLOCK()
    if (failed) {
        Py_CLEAR(found);
    }
    drops_release(&drops);
    Py_DECREF(wanted);
    return found;
}

/* -- verbs: writing -------------------------------------------------------------------------- */

enum { ALWAYS, WHERE_FREE, WHERE_LIVE };

/* Store, and return whether it did; -1 for an error. */
static int
put(store_t *self, PyObject *key, PyObject *value, PyObject *ttl, int when)
{
    PyObject *converted;
    double life;
    moment_t moment;
    drops_t drops;
    int stored = -1;
    if (plain_key(self, &key, &converted) < 0) {
        return -1;
    }
    if (life_of(self, ttl, &life) < 0 || moment_begin(self, &moment) < 0) {
        Py_XDECREF(converted);
        return -1;
    }
    if (life != INFINITY) {
        moment_now(&moment); /* it is needed in any case: then no coarse clock is read besides */
    }
    Py_hash_t hash = hash_of(key);
    drops_init(&drops, 4);
    LOCK(self)
    if (reserve_store(&self->in, life) == 0) {
        place_t place = when == ALWAYS ? find(&self->in, key, hash)
                                       : find_live(self, key, hash, &moment, &drops);
        stored = when == ALWAYS || (when == WHERE_LIVE) == (place != 0);
        if (stored) {
            store_entry(self, place, key, hash, value, life, &moment, &drops);
        }
    }
    UNLOCK()
    drops_release(&drops);
    Py_XDECREF(converted);
    return stored;
}

static PyObject *
store_set(store_t *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    static const takes_t takes = {"set", {"key", "value", "ttl"}, 2, 3, 3};
    PyObject *given[3];
    if (bind(&takes, args, count, names, given) < 0
        || put(self, given[0], given[1], given[2], ALWAYS) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
store_add(store_t *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    static const takes_t takes = {"add", {"key", "value", "ttl"}, 2, 3, 3};
    PyObject *given[3];
    if (bind(&takes, args, count, names, given) < 0) {
        return NULL;
    }
    int stored = put(self, given[0], given[1], given[2], WHERE_FREE);
    return stored < 0 ? NULL : PyBool_FromLong(stored);
}

static PyObject *
store_replace(store_t *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    static const takes_t takes = {"replace", {"key", "value", "ttl"}, 2, 3, 3};
    PyObject *given[3];
    if (bind(&takes, args, count, names, given) < 0) {
        return NULL;
    }
    int stored = put(self, given[0], given[1], given[2], WHERE_LIVE);
    return stored < 0 ? NULL : PyBool_FromLong(stored);
}

static PyObject *
store_touch(store_t *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    static const takes_t takes = {"touch", {"key", "ttl"}, 1, 2, 2};
    PyObject *given[2], *converted;
    double life;
    moment_t moment;
    drops_t drops;
    int live = -1;
    if (bind(&takes, args, count, names, given) < 0 || plain_key(self, &given[0], &converted) < 0) {
        return NULL;
    }
    if (life_of(self, given[1], &life) < 0 || moment_begin(self, &moment) < 0) {
        Py_XDECREF(converted);
        return NULL;
    }
    Py_hash_t hash = hash_of(given[0]);
    drops_init(&drops, 4);
    LOCK(self)
    if (reserve_store(&self->in, life) == 0) {
        place_t place = find_live(self, given[0], hash, &moment, &drops);
        live = place != 0;
        if (live) {
            PyObject *value = node_at(&self->in, place)->value;
            store_entry(self, place, given[0], hash, value, life, &moment, &drops);
        }
    }
    UNLOCK()
    drops_release(&drops);
    Py_XDECREF(converted);
    return live < 0 ? NULL : PyBool_FromLong(live);
}

static PyObject *
store_set_many(store_t *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    static const takes_t takes = {"set_many", {"mapping", "ttl"}, 1, 2, 2};
    PyObject *given[2];
    double life;
    moment_t moment;
    drops_t drops;
    int failed;
    if (bind(&takes, args, count, names, given) < 0 || life_of(self, given[1], &life) < 0) {
        return NULL;
    }
    PyObject *pairs = plain_pairs(self, given[0]);
    if (pairs == NULL) {
        return NULL;
    }
    Py_ssize_t size = PyList_GET_SIZE(pairs);
    if (moment_begin(self, &moment) < 0 || drops_init(&drops, 2 * size) < 0) {
        Py_DECREF(pairs);
        return NULL;
    }
    moment_now(&moment);
    content_t *in = &self->in;
    LOCK(self)
    failed = size > (Py_ssize_t)(MOST_PLACES / 4);
    if (failed) {
        PyErr_NoMemory();
    }
    else {
        /* A full store takes the nodes of what it evicts. Each entry has a slot at most, and after
         * a swap there may be more entries than the bound. */
        uint32_t most = self->max_size > in->size ? self->max_size : in->size;
        uint32_t nodes = most + 1 > in->top ? most + 1 - in->top : 0, slots = most - in->heap_size;
        if (nodes > (uint32_t)size) {
            nodes = (uint32_t)size;
        }
        if (slots > (uint32_t)size) {
            slots = (uint32_t)size;
        }
        failed = (nodes && (reserve_nodes(in, nodes) < 0 || reserve_index(in, nodes) < 0))
                 || reserve_aside(in, 2 * (size_t)size) < 0
                 || (life != INFINITY && reserve_heap(in, slots) < 0);
    }
    for (Py_ssize_t i = 0; !failed && i < size; i++) {
        PyObject *pair = PyList_GET_ITEM(pairs, i), *key = PyTuple_GET_ITEM(pair, 0);
        Py_hash_t hash = hash_of(key);
        store_entry(self, find(in, key, hash), key, hash, PyTuple_GET_ITEM(pair, 1), life, &moment,
                    &drops);
    }
    UNLOCK()
    drops_release(&drops);
    Py_DECREF(pairs);
    if (failed) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static inline int
is_number(PyObject *value)
{
    return PyLong_CheckExact(value) || PyFloat_CheckExact(value);
}

/* Return the number behind the value at `key`, plain, or NULL with a ValueError. */
static PyObject *
number_of(store_t *self, PyObject *value, PyObject *key)
{
    if (is_number(value)) {
        return Py_NewRef(value);
    }
    return PyObject_CallFunctionObjArgs(self->state->number, value, key, NULL);
}

static PyObject *
add_to(store_t *self, PyObject *key, PyObject *step, int create, double life)
{
    moment_t moment;
    drops_t drops;
    Py_hash_t hash = hash_of(key);
    for (;;) {
        PyObject *total = NULL, *former = NULL;
        int failed, done = 0, missing = 0;
        if (moment_begin(self, &moment) < 0) {
            return NULL;
        }
        drops_init(&drops, 4);
        LOCK(self)
        failed = reserve_store(&self->in, life);
        if (!failed) {
            place_t place = find_live(self, key, hash, &moment, &drops);
            if (!place) {
                missing = 1;
                if (create) {
                    store_entry(self, 0, key, hash, step, life, &moment, &drops);
                    total = Py_NewRef(step);
                }
                done = 1;
            }
            else {
                node_t *node = node_at(&self->in, place);
                former = Py_NewRef(node->value);
                if (LIKELY(is_number(former))) {
                    /* Exact numbers: no foreign code runs, and no object that is collected. */
                    total = PyNumber_Add(former, step);
                    failed = total == NULL;
                    if (!failed) {
                        use(&self->in, node, place);
                        drops_add(&drops, node->value);
                        node->value = Py_NewRef(total);
                        if (UNLIKELY(self->in.walks != NULL)) {
                            walks_note(&self->in, place);
                        }
                        note_change(self, key);
                    }
                    done = 1;
                }
            }
        }
        UNLOCK()
        drops_release(&drops);
        if (failed || done) {
            Py_XDECREF(former);
            if (missing && !create) {
                PyErr_SetObject(PyExc_KeyError, key);
            }
            return total;
        }
        /* A number of another type, or none: its conversion is code that may call the store. So it
         * is made before the step that puts the plain number in place of what was there. */
        PyObject *plain = number_of(self, former, key);
        if (plain == NULL) {
            Py_DECREF(former);
            return NULL;
        }
        drops_init(&drops, 4);
        LOCK(self)
        place_t place = find(&self->in, key, hash);
        if (place && node_at(&self->in, place)->value == former
            && reserve_aside(&self->in, 1) == 0) {
            node_t *node = node_at(&self->in, place);
            use(&self->in, node, place);
            *collectable_at(&self->in, place) -= (uint32_t)is_collectable(former);
            *collectable_at(&self->in, place) += (uint32_t)is_collectable(plain);
            drops_add(&drops, node->value);
            node->value = Py_NewRef(plain);
        }
        UNLOCK()
        drops_release(&drops);
        Py_DECREF(plain);
        Py_DECREF(former);
        if (PyErr_Occurred()) {
            return NULL;
        }
    }
}

/* Return `amount` as a plain int or float, a new reference. */
static PyObject *
plain_amount(store_t *self, PyObject *amount)
{
    if (amount == NULL) {
        return PyLong_FromLong(1);
    }
    return is_number(amount) ? Py_NewRef(amount) : PyObject_CallOneArg(self->state->amount, amount);
}

static PyObject *
count_by(store_t *self, const takes_t *takes, int down, PyObject *const *args, Py_ssize_t count,
         PyObject *names)
{
    PyObject *given[4], *converted, *total = NULL;
    double life;
    int create = 1;
    if (bind(takes, args, count, names, given) < 0 || plain_key(self, &given[0], &converted) < 0) {
        return NULL;
    }
    PyObject *step = plain_amount(self, given[1]);
    if (step != NULL && down) {
        Py_SETREF(step, PyNumber_Negative(step));
    }
    if (given[2] != NULL) {
        create = PyObject_IsTrue(given[2]);
    }
    if (step != NULL && create >= 0 && life_of(self, given[3], &life) == 0) {
        total = add_to(self, given[0], step, create, life);
    }
    Py_XDECREF(step);
    Py_XDECREF(converted);
    return total;
}

static PyObject *
store_increment(store_t *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    static const takes_t takes = {"increment", {"key", "amount", "create", "ttl"}, 1, 2, 4};
    return count_by(self, &takes, 0, args, count, names);
}

static PyObject *
store_decrement(store_t *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    static const takes_t takes = {"decrement", {"key", "amount", "create", "ttl"}, 1, 2, 4};
    return count_by(self, &takes, 1, args, count, names);
}

/* -- verbs: removing ------------------------------------------------------------------------- */

static PyObject *
store_pop(store_t *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    static const takes_t takes = {"pop", {"key", "default"}, 1, 2, 2};
    PyObject *given[2], *converted, *value = NULL;
    moment_t moment;
    drops_t drops;
    int failed;
    if (bind(&takes, args, count, names, given) < 0 || plain_key(self, &given[0], &converted) < 0) {
        return NULL;
    }
    if (moment_begin(self, &moment) < 0) {
        Py_XDECREF(converted);
        return NULL;
    }
    Py_hash_t hash = hash_of(given[0]);
    drops_init(&drops, 4);
    LOCK(self)
    failed = reserve_aside(&self->in, 1);
    if (!failed) {
        note_change(self, given[0]);
        place_t place = find_live(self, given[0], hash, &moment, &drops);
        if (place) {
            value = Py_NewRef(node_at(&self->in, place)->value);
            remove_entry(&self->in, place, &drops);
            self->counted[HITS]++;
        }
        else {
            self->counted[MISSES]++;
        }
    }
    UNLOCK()
    if (value == NULL && !failed) {
        value = or_none(given[1]);
    }
    drops_release(&drops);
    Py_XDECREF(converted);
    return value;
}

/* Remove the entries at plain keys within a step; return how many live ones went. */
static Py_ssize_t
remove_each(store_t *self, PyObject *const *keys, Py_ssize_t size, moment_t *moment, drops_t *drops)
{
    Py_ssize_t removed = 0;
    for (Py_ssize_t i = 0; i < size; i++) {
        note_change(self, keys[i]);
        place_t place = find_live(self, keys[i], hash_of(keys[i]), moment, drops);
        if (place) {
            remove_entry(&self->in, place, drops);
            removed++;
        }
    }
    return removed;
}

/* Remove the entries at plain keys in one step; return how many live ones went, -1 for an error. */
static Py_ssize_t
remove_all(store_t *self, PyObject *const *keys, Py_ssize_t size)
{
    Py_ssize_t removed = -1;
    moment_t moment;
    drops_t drops;
    if (moment_begin(self, &moment) < 0 || drops_init(&drops, 2 * size) < 0) {
        return -1;
    }
    LOCK(self)
    if (reserve_aside(&self->in, (size_t)size) == 0) {
        removed = remove_each(self, keys, size, &moment, &drops);
    }
    UNLOCK()
    drops_release(&drops);
    return removed;
}

static PyObject *
store_delete(store_t *self, PyObject *key)
{
    PyObject *converted;
    if (plain_key(self, &key, &converted) < 0) {
        return NULL;
    }
    Py_ssize_t removed = remove_all(self, &key, 1);
    Py_XDECREF(converted);
    return removed < 0 ? NULL : PyBool_FromLong(removed);
}

static PyObject *
store_delete_many(store_t *self, PyObject *keys)
{
    PyObject *unwanted = plain_keys(self, keys);
    if (unwanted == NULL) {
        return NULL;
    }
    Py_ssize_t size = PyList_GET_SIZE(unwanted);
    Py_ssize_t removed = remove_all(self, ((PyListObject *)unwanted)->ob_item, size);
    Py_DECREF(unwanted);
    return removed < 0 ? NULL : PyLong_FromSsize_t(removed);
}

static int
store_ass_subscript(store_t *self, PyObject *key, PyObject *value)
{
    if (value != NULL) {
        return put(self, key, value, NULL, ALWAYS) < 0 ? -1 : 0;
    }
    PyObject *converted;
    if (plain_key(self, &key, &converted) < 0) {
        return -1;
    }
    Py_ssize_t removed = remove_all(self, &key, 1);
    if (removed == 0) {
        PyErr_SetObject(PyExc_KeyError, key);
    }
    Py_XDECREF(converted);
    return removed == 1 ? 0 : -1;
}

static Py_ssize_t
store_length(store_t *self)
{
    return (Py_ssize_t)self->in.size;
}

/* -- verbs that leave it to the caller when references go ------------------------------------ */

/* Move the references that go into a list that is long enough for them. */
static PyObject *
drops_into(drops_t *drops, PyObject *list)
{
    for (Py_ssize_t i = 0; i < drops->count; i++) {
        PyList_SET_ITEM(list, i, drops->items[i]);
    }
    Py_SET_SIZE(list, drops->count);
    drops->count = 0;
    drops_release(drops);
    return list;
}

static PyObject *
store_put(store_t *self, PyObject *const *args, Py_ssize_t count)
{
    PyObject *key, *converted, *gone = NULL;
    moment_t moment;
    drops_t drops;
    int failed;
    if (count != 3) {
        PyErr_SetString(PyExc_TypeError, "_put() takes a key, a value and a life");
        return NULL;
    }
    key = args[0];
    double life = PyFloat_AsDouble(args[2]);
    if ((life == -1.0 && PyErr_Occurred()) || plain_key(self, &key, &converted) < 0) {
        return NULL;
    }
    drops_init(&drops, 4);
    if (moment_begin(self, &moment) < 0 || (gone = PyList_New(4)) == NULL) {
        Py_XDECREF(converted);
        return NULL;
    }
    Py_hash_t hash = hash_of(key);
    LOCK(self)
    failed = reserve_store(&self->in, life) < 0;
    if (!failed) {
        place_t place = find(&self->in, key, hash);
        store_entry(self, place, key, hash, args[1], life, &moment, &drops);
    }
    UNLOCK()
    Py_XDECREF(converted);
    drops_into(&drops, gone);
    if (failed) {
        Py_CLEAR(gone);
    }
    return gone;
}

static PyObject *
store_take(store_t *self, PyObject *keys)
{
    PyObject *gone = NULL, *unwanted = plain_keys(self, keys);
    moment_t moment;
    drops_t drops;
    int failed;
    if (unwanted == NULL) {
        return NULL;
    }
    Py_ssize_t size = PyList_GET_SIZE(unwanted);
    if (moment_begin(self, &moment) < 0 || (gone = PyList_New(2 * size)) == NULL
        || drops_init(&drops, 2 * size) < 0) {
        Py_XDECREF(gone);
        Py_DECREF(unwanted);
        return NULL;
    }
    LOCK(self)
    failed = reserve_aside(&self->in, (size_t)size) < 0;
    if (!failed) {
        remove_each(self, ((PyListObject *)unwanted)->ob_item, size, &moment, &drops);
    }
    UNLOCK()
    Py_DECREF(unwanted);
    drops_into(&drops, gone);
    if (failed) {
        Py_CLEAR(gone);
    }
    return gone;
}

/* -- single flight --------------------------------------------------------------------------- */

/* Answer a plain hit here; whatever else it is goes to `_get_or_set_missing`, arguments and all. */
static PyObject *
store_get_or_set(store_t *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    double life;
    if (names == NULL && (count == 2 || count == 3) && PyUnicode_CheckExact(args[0])
        && PyCallable_Check(args[1]) && self->state->clock == NULL) {
        PyObject *value = NULL, *key = args[0], *converted;
        moment_t moment = {0.0, 0};
        if (plain_key(self, &key, &converted) < 0
            || life_of(self, count == 3 ? args[2] : NULL, &life) < 0) {
            return NULL;
        }
        Py_hash_t hash = hash_of(key);
        LOCK(self)
        place_t place = self->in.snapshots == NULL ? find(&self->in, key, hash) : 0;
        if (place) {
            node_t *node = node_at(&self->in, place);
            if (is_live(node->deadline, &moment)) {
                use(&self->in, node, place);
                self->counted[HITS]++;
                value = Py_NewRef(node->value);
            }
        }
        UNLOCK()
        if (LIKELY(value != NULL)) {
            return value;
        }
    }
    PyObject *slow = PyObject_GetAttr((PyObject *)self, self->state->miss_name);
    if (slow == NULL) {
        return NULL;
    }
    PyObject *value = PyObject_Vectorcall(slow, args, (size_t)count, names);
    Py_DECREF(slow);
    return value;
}

static PyObject *
store_watch(store_t *self, PyObject *key)
{
    int failed = 0;
    if (!PyUnicode_CheckExact(key)) {
        PyErr_SetString(PyExc_TypeError, "_watch() takes a plain str");
        return NULL;
    }
    PyObject *fresh = PyDict_New(); /* before the step, which may find that there is none */
    if (fresh == NULL) {
        return NULL;
    }
    LOCK(self)
    if (self->watched == NULL) {
        self->watched = fresh;
        fresh = NULL;
    }
    failed = PyDict_SetItem(self->watched, key, Py_False);
    UNLOCK()
    Py_XDECREF(fresh);
    if (failed) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* End a watch within a step: whether the key is as it was when it began. */
static int
end_watch(store_t *self, PyObject *key, PyObject **empty)
{
    int unchanged = 0;
    if (self->watched != NULL) {
        unchanged = PyDict_GetItemWithError(self->watched, key) == Py_False;
        if (PyDict_DelItem(self->watched, key) < 0) {
            PyErr_Clear();
        }
        if (PyDict_GET_SIZE(self->watched) == 0) {
            *empty = self->watched;
            self->watched = NULL;
        }
    }
    return unchanged;
}

static PyObject *
store_unwatch(store_t *self, PyObject *key)
{
    PyObject *empty = NULL;
    int unchanged;
    if (!PyUnicode_CheckExact(key)) {
        PyErr_SetString(PyExc_TypeError, "_unwatch() takes a plain str");
        return NULL;
    }
    LOCK(self)
    unchanged = end_watch(self, key, &empty);
    UNLOCK()
    Py_XDECREF(empty);
    return PyBool_FromLong(unchanged);
}

static PyObject *
store_land(store_t *self, PyObject *const *args, Py_ssize_t count)
{
    moment_t moment;
    drops_t drops;
    PyObject *empty = NULL;
    int stored = -1;
    if (count != 3 || !PyUnicode_CheckExact(args[0])) {
        PyErr_SetString(PyExc_TypeError, "_land() takes a plain str, a value and a life");
        return NULL;
    }
    double life = PyFloat_AsDouble(args[2]);
    if ((life == -1.0 && PyErr_Occurred()) || check_life(life) < 0
        || moment_begin(self, &moment) < 0) {
        return NULL;
    }
    Py_hash_t hash = hash_of(args[0]);
    drops_init(&drops, 4);
    LOCK(self)
    if (reserve_store(&self->in, life) == 0) {
        stored = end_watch(self, args[0], &empty);
        if (stored) {
            place_t place = find_live(self, args[0], hash, &moment, &drops);
            store_entry(self, place, args[0], hash, args[1], life, &moment, &drops);
        }
    }
    UNLOCK()
    drops_release(&drops);
    Py_XDECREF(empty);
    return stored < 0 ? NULL : PyBool_FromLong(stored);
}

/* Return a list of the keys that are watched. */
static PyObject *
store_watched(store_t *self, PyObject *Py_UNUSED(ignored))
{
    /* The new list may start the garbage collector, and a finalizer may end the last watch. */
    PyObject *watched;
    LOCK(self)
    watched = Py_XNewRef(self->watched);
    UNLOCK()
    PyObject *keys = watched != NULL ? PyDict_Keys(watched) : PyList_New(0);
    Py_XDECREF(watched);
    return keys;
}

/* Take those of the keys that are watched for changed. */
static PyObject *
store_forget(store_t *self, PyObject *keys)
{
    keys = plain_keys(self, keys);
    if (keys == NULL) {
        return NULL;
    }
    LOCK(self)
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(keys); i++) {
        note_change(self, PyList_GET_ITEM(keys, i));
    }
    UNLOCK()
    Py_DECREF(keys);
    Py_RETURN_NONE;
}

/* -- in slices ------------------------------------------------------------------------------- */

#define BATCH 256  /* entries that one call removes, reads or lists at most, times a few */

/* Remove up to BATCH expired entries and return how many; 0: there is none. */
static PyObject *
store_sweep(store_t *self, PyObject *Py_UNUSED(ignored))
{
    moment_t moment;
    drops_t drops;
    int failed;
    long removed = 0;
    if (moment_begin(self, &moment) < 0 || drops_init(&drops, 2 * BATCH) < 0) {
        return NULL;
    }
    LOCK(self)
    failed = reserve_aside(&self->in, BATCH);
    while (!failed && removed < BATCH) {
        place_t place = first_expired(&self->in, &moment);
        if (!place) {
            break;
        }
        expire(self, place, &drops);
        removed++;
    }
    UNLOCK()
    drops_release(&drops);
    return failed ? NULL : PyLong_FromLong(removed);
}

/* Let go of all entries, a chunk at a time, counted as nothing; return how many chunks are left. */
static PyObject *
store_release(store_t *self, PyObject *Py_UNUSED(ignored))
{
    chunk_t *chunk = NULL;
    uint32_t used = 0, left;
    content_t empty;
    if (content_init(&empty) < 0) {
        return NULL;
    }
    LOCK(self)
    content_t *rest = &self->rest;
    /* What a snapshot still reads stays, and goes with the store. */
    if (rest->chunk_count == 0 && self->in.size && self->in.snapshots == NULL) {
        *rest = self->in;
        self->in = empty;
        self->generation++;
        walks_end(rest);
        memset(&empty, 0, sizeof(empty));
    }
    if (rest->chunk_count) {
        chunk = rest->chunks[--rest->chunk_count];
        uint32_t first = rest->chunk_count << CHUNK_BITS;
        if (rest->top > first) {
            used = rest->top - first;
            rest->top = first;
        }
    }
    left = rest->chunk_count;
    if (chunk != NULL && left == 0) {
        content_free(rest);
    }
    UNLOCK()
    content_free(&empty);
    for (uint32_t i = left == 0; chunk != NULL && i < used; i++) {
        if (chunk->nodes[i].key != NULL) {
            Py_DECREF(chunk->nodes[i].key);
            Py_DECREF(chunk->nodes[i].value);
        }
    }
    PyMem_RawFree(chunk);
    return PyLong_FromUnsignedLong(left);
}

/* Exchange the content with another store's: entries, order of use and deadlines, in one step; on
 * request the counters too. Bounds stay. Keys that are watched count as changed. */
static PyObject *
store_swap(store_t *self, PyObject *const *args, Py_ssize_t count)
{
    if (count != 2 || !PyObject_TypeCheck(args[0], self->state->store_type)
        || args[0] == (PyObject *)self) {
        PyErr_SetString(PyExc_TypeError, "_swap() takes another store, and whether to count anew");
        return NULL;
    }
    store_t *other = (store_t *)args[0];
    int counters = PyObject_IsTrue(args[1]);
    if (counters < 0) {
        return NULL;
    }
    PyObject *key, *value;
    Py_ssize_t at;
#ifdef Py_GIL_DISABLED
    Py_BEGIN_CRITICAL_SECTION2(self, other);
#endif
    content_t content = self->in;
    self->in = other->in;
    other->in = content;
    if (counters) {
        uint64_t *mine = self->counted, *others = other->counted;
        for (int i = 0; i < 4; i++) {
            uint64_t former = mine[i];
            mine[i] = others[i];
            others[i] = former;
        }
    }
    store_t *both[2] = {self, other};
    for (int i = 0; i < 2; i++) {
        both[i]->generation++;
        for (snapshot_t *each = both[i]->in.snapshots; each; each = each->next) {
            store_t *former = each->owner;
            each->owner = (store_t *)Py_NewRef(both[i]);
            Py_DECREF(former); /* not the last one: both are the caller's */
        }
        walks_end(&both[i]->in);
        at = 0;
        while (both[i]->watched != NULL && PyDict_Next(both[i]->watched, &at, &key, &value)) {
            PyDict_SetItem(both[i]->watched, key, Py_True); /* there already: nothing moves */
        }
    }
#ifdef Py_GIL_DISABLED
    Py_END_CRITICAL_SECTION2();
#endif
    Py_RETURN_NONE;
}

/* Prepare an empty store for so many entries, so that filling it makes no long step. */
static PyObject *
store_reserve(store_t *self, PyObject *argument)
{
    unsigned long wanted = PyLong_AsUnsignedLong(argument);
    if (wanted == (unsigned long)-1 && PyErr_Occurred()) {
        return NULL;
    }
    if (wanted > MOST_PLACES / 2) {
        wanted = MOST_PLACES / 2;
    }
    uint32_t buckets = LEAST_BUCKETS;
    int shift = 5;
    while (buckets < wanted) {
        buckets *= 2;
        shift++;
    }
    /* Zeroed pages of the kernel's: they are mapped as the entries come. */
    uint32_t *heads = PyMem_RawCalloc(buckets, sizeof(*heads)), *former = NULL;
    if (heads == NULL) {
        return PyErr_NoMemory();
    }
    int failed = 0;
    LOCK(self)
    if (self->in.top == 1 && reserve_heap(&self->in, (uint32_t)wanted) < 0) {
        failed = 1;
    }
    else if (self->in.top == 1 && buckets > self->in.buckets) {
        former = self->in.heads;
        self->in.heads = heads;
        self->in.head_room = self->in.buckets = buckets;
        self->in.shift = shift;
        heads = NULL;
    }
    UNLOCK()
    PyMem_RawFree(heads);
    PyMem_RawFree(former);
    if (failed) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* Store lists of keys, values and ends, which are None or deadlines once `offset` is added; what
 * has expired at `now` is left out. Nothing is counted. */
static PyObject *
store_fill(store_t *self, PyObject *args)
{
    PyObject *keys, *values, *ends;
    double offset, now;
    drops_t drops;
    int failed = 0;
    content_t *in = &self->in;
    if (!PyArg_ParseTuple(args, "O!O!O!dd", &PyList_Type, &keys, &PyList_Type, &values,
                          &PyList_Type, &ends, &offset, &now)) {
        return NULL;
    }
    Py_ssize_t size = PyList_GET_SIZE(keys);
    if (PyList_GET_SIZE(values) != size || PyList_GET_SIZE(ends) != size) {
        PyErr_SetString(PyExc_ValueError, "_fill() takes lists of one length");
        return NULL;
    }
    if (drops_init(&drops, 2 * size) < 0) {
        return NULL;
    }
    moment_t moment = {now, 1};
    LOCK(self)
    for (Py_ssize_t i = 0; !failed && i < size; i++) {
        PyObject *key = PyList_GET_ITEM(keys, i), *end = PyList_GET_ITEM(ends, i);
        double deadline = INFINITY;
        if (!PyUnicode_CheckExact(key)
            || !(end == Py_None || PyFloat_CheckExact(end) || PyLong_CheckExact(end))) {
            PyErr_SetString(PyExc_TypeError, "_fill() takes plain keys and numbers or None");
            failed = 1;
            break;
        }
        if (end != Py_None) {
            deadline = PyFloat_AsDouble(end) + offset;
            failed = PyErr_Occurred() != NULL;
        }
        failed = failed || reserve_store(in, deadline) < 0;
        if (!failed && deadline > now) {
            Py_hash_t hash = hash_of(key);
            place_t place = find(in, key, hash);
            uint64_t counted[4];
            memcpy(counted, self->counted, sizeof(counted));
            store_entry(self, place, key, hash, PyList_GET_ITEM(values, i), INFINITY, &moment,
                        &drops);
            memcpy(self->counted, counted, sizeof(counted));
            place = node_at(in, 0)->prev;
            set_deadline(in, node_at(in, place), place, deadline);
        }
    }
    UNLOCK()
    drops_release(&drops);
    if (failed) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* -- walks ----------------------------------------------------------------------------------- */

/* Check that there still is a type; a finalizer may call when the interpreter is on its way out. */
static int
made_by(PyTypeObject *type)
{
    if (type != NULL) {
        return 0;
    }
    PyErr_SetString(PyExc_RuntimeError, "the module of the store is gone");
    return -1;
}

static PyObject *
store_walk(store_t *self, PyObject *argument)
{
    int note = PyObject_IsTrue(argument);
    if (note < 0 || made_by(self->state->walk_type) < 0) {
        return NULL;
    }
    walk_t *walk = PyObject_GC_New(walk_t, self->state->walk_type);
    if (walk == NULL) {
        return NULL;
    }
    walk->owner = (store_t *)Py_NewRef(self);
    walk->next = NULL;
    walk->written = NULL;
    walk->at = 1;
    PyObject_GC_Track(walk);
    LOCK(self)
    walk->generation = self->generation;
    walk->end = self->in.top;
    if (note) {
        walk->written = PyMem_RawCalloc(walk->end / 8 + 1, 1);
        if (walk->written != NULL) {
            walk->next = self->in.walks;
            self->in.walks = walk;
        }
    }
    UNLOCK()
    if (note && walk->written == NULL) {
        Py_DECREF(walk);
        return PyErr_NoMemory();
    }
    return (PyObject *)walk;
}

static void
walk_end(walk_t *walk)
{
    store_t *owner = walk->owner;
    if (owner == NULL) {
        return;
    }
    LOCK(owner)
    if (walk->written != NULL) {
        walk_t **link = &owner->in.walks;
        while (*link != walk) {
            link = &(*link)->next;
        }
        *link = walk->next;
        PyMem_RawFree(walk->written);
        walk->written = NULL;
    }
    UNLOCK()
}

#define SLICE 2048
#define SCANNED (16 * SLICE) /* entries that one step looks at */

/* Between two steps that found nothing. */
static void
let_others_run(void)
{
    Py_BEGIN_ALLOW_THREADS
    Py_END_ALLOW_THREADS
}

/* Return a list of the next live keys, an empty one at the end, None where the content has been
 * replaced since the walk began. */
static PyObject *
walk_slice(walk_t *walk, PyObject *Py_UNUSED(ignored))
{
    store_t *store = walk->owner;
    PyObject **found = PyMem_New(PyObject *, SLICE), *keys = NULL;
    Py_ssize_t count = 0;
    int replaced = 0, ended = 0;
    if (found == NULL) {
        return PyErr_NoMemory();
    }
    while (!count && !replaced && !ended) {
        moment_t moment;
        if (moment_begin(store, &moment) < 0) {
            PyMem_Free(found);
            return NULL;
        }
        LOCK(store)
        replaced = walk->generation != store->generation;
        uint32_t end = walk->end - walk->at > SCANNED ? walk->at + SCANNED : walk->end;
        while (!replaced && walk->at < end && count < SLICE) {
            const node_t *node = node_at(&store->in, walk->at++);
            if (node->key != NULL && is_live(node->deadline, &moment)) {
                found[count++] = Py_NewRef(node->key);
            }
        }
        ended = walk->at >= walk->end;
        UNLOCK()
        if (!count && !replaced && !ended) {
            let_others_run();
        }
    }
    if (!replaced) {
        keys = PyList_New(count);
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        if (keys != NULL) {
            PyList_SET_ITEM(keys, i, found[i]);
        }
        else {
            Py_DECREF(found[i]);
        }
    }
    PyMem_Free(found);
    return replaced ? Py_NewRef(Py_None) : keys;
}

/* Remove those of a list of plain keys that nobody has written since the walk began. Return how
 * many live ones went. */
static PyObject *
walk_delete(walk_t *walk, PyObject *keys)
{
    store_t *store = walk->owner;
    content_t *in = &store->in;
    moment_t moment;
    drops_t drops;
    long removed = 0;
    int failed;
    keys = plain_keys(store, keys);
    if (keys == NULL) {
        return NULL;
    }
    Py_ssize_t size = PyList_GET_SIZE(keys);
    if (moment_begin(store, &moment) < 0 || drops_init(&drops, 2 * size) < 0) {
        Py_DECREF(keys);
        return NULL;
    }
    LOCK(store)
    failed = reserve_aside(in, (size_t)size);
    for (Py_ssize_t i = 0; !failed && walk->written != NULL && i < size; i++) {
        PyObject *key = PyList_GET_ITEM(keys, i);
        place_t place = find(in, key, hash_of(key));
        if (!place || place >= walk->end || walk->written[place / 8] >> place % 8 & 1) {
            continue;
        }
        note_change(store, key);
        if (is_live(node_at(in, place)->deadline, &moment)) {
            remove_entry(in, place, &drops);
            removed++;
        }
        else {
            expire(store, place, &drops);
        }
    }
    UNLOCK()
    drops_release(&drops);
    Py_DECREF(keys);
    return failed ? NULL : PyLong_FromLong(removed);
}

static PyObject *
walk_close(walk_t *walk, PyObject *Py_UNUSED(ignored))
{
    walk_end(walk);
    Py_RETURN_NONE;
}

/* -- snapshots ------------------------------------------------------------------------------- */

/* Count the entries that have expired. One pass over the heap, which looks at few nodes. */
static uint32_t
count_expired(const content_t *in, double now)
{
    uint32_t expired = 0;
    if (in->heap_size == 0 || in->times[0] > now) {
        return 0;
    }
    for (uint32_t slot = 0; slot < in->heap_size; slot++) {
        if (in->times[slot] <= now) {
            place_t place = in->places[slot];
            expired += !(place & OUTDATED) || node_at(in, place & ~OUTDATED)->deadline <= now;
        }
    }
    return expired;
}

/* Begin a snapshot: return it and, of the same moment, how many rows it will give, hits, misses,
 * evictions and expirations. */
static PyObject *
store_snapshot(store_t *self, PyObject *Py_UNUSED(ignored))
{
    moment_t moment;
    uint64_t counted[4];
    if (made_by(self->state->snapshot_type) < 0 || moment_begin(self, &moment) < 0) {
        return NULL;
    }
    snapshot_t *snapshot = PyObject_GC_New(snapshot_t, self->state->snapshot_type);
    if (snapshot == NULL) {
        return NULL;
    }
    snapshot->owner = (store_t *)Py_NewRef(self);
    snapshot->aside = NULL;
    snapshot->aside_size = snapshot->aside_room = 0;
    LOCK(self)
    snapshot->now = moment_now(&moment);
    snapshot->start = self->in.uses;
    snapshot->reached = 0;
    snapshot->cursor = node_at(&self->in, 0)->next;
    snapshot->left = self->in.size - count_expired(&self->in, snapshot->now);
    snapshot->next = self->in.snapshots;
    self->in.snapshots = snapshot;
    memcpy(counted, self->counted, sizeof(counted));
    UNLOCK()
    PyObject_GC_Track(snapshot);
    return Py_BuildValue("NdIKKKK", snapshot, snapshot->now, (unsigned int)snapshot->left,
                         counted[0], counted[1], counted[2], counted[3]);
}

static void
snapshot_end(snapshot_t *snapshot)
{
    store_t *owner = snapshot->owner;
    row_t *aside = NULL;
    size_t size = 0;
    if (owner == NULL) {
        return;
    }
    LOCK(owner)
    snapshot_t **link = &owner->in.snapshots;
    while (*link && *link != snapshot) {
        link = &(*link)->next;
    }
    if (*link) {
        *link = snapshot->next;
    }
    snapshot->next = NULL;
    aside = snapshot->aside;
    size = snapshot->aside_size;
    snapshot->aside = NULL;
    snapshot->aside_size = snapshot->aside_room = 0;
    snapshot->left = 0;
    snapshot->cursor = 0;
    snapshot->owner = NULL;
    UNLOCK()
    for (size_t i = 0; i < size; i++) {
        Py_DECREF(aside[i].key);
        Py_DECREF(aside[i].value);
    }
    PyMem_RawFree(aside);
    Py_DECREF(owner);
}

/* Read up to `most` rows, in a step of bounded length; return how many. */
static long
read_rows(snapshot_t *snapshot, const content_t *in, row_t *rows, long most, int *ended)
{
    long count = 0;
    for (long looked = 0; count < most && looked < SCANNED; looked++) {
        const node_t *node = snapshot->cursor ? node_at(in, snapshot->cursor) : NULL;
        if (node != NULL && node->use > snapshot->start) {
            node = NULL; /* from here on all are newer than the snapshot */
        }
        if (snapshot->aside_size && (node == NULL || snapshot->aside[0].use < node->use)) {
            rows[count] = take_aside(snapshot);
            snapshot->reached = rows[count++].use;
        }
        else if (node != NULL) {
            snapshot->cursor = node->next;
            snapshot->reached = node->use;
            if (node->deadline > snapshot->now) {
                rows[count++] = (row_t){node->use, Py_NewRef(node->key), Py_NewRef(node->value),
                                        node->deadline};
            }
        }
        else {
            *ended = 1;
            break;
        }
    }
    snapshot->left -= (uint32_t)count;
    return count;
}

/* Return a list of up to so many further rows, (key, value, deadline or None), from least to most
 * recently used; an empty one at the end. */
static PyObject *
snapshot_rows(snapshot_t *snapshot, PyObject *argument)
{
    long most = PyLong_AsLong(argument);
    if (most == -1 && PyErr_Occurred()) {
        return NULL;
    }
    if (most < 1 || snapshot->owner == NULL) {
        return PyList_New(0);
    }
    if ((unsigned long)most > snapshot->left) {
        most = (long)snapshot->left;
    }
    row_t *rows = PyMem_New(row_t, most ? most : 1);
    if (rows == NULL) {
        return PyErr_NoMemory();
    }
    long count = 0;
    int ended = most == 0;
    while (!count && !ended && snapshot->owner != NULL) {
        store_t *owner = (store_t *)Py_NewRef(snapshot->owner);
        LOCK(owner)
        count = read_rows(snapshot, &owner->in, rows, most, &ended);
        UNLOCK()
        Py_DECREF(owner);
        if (!count && !ended) {
            let_others_run();
        }
    }
    PyObject *list = PyList_New(count);
    for (long i = 0; i < count; i++) {
        PyObject *row = NULL;
        if (list != NULL) {
            PyObject *end = rows[i].deadline == INFINITY ? Py_NewRef(Py_None)
                                                         : PyFloat_FromDouble(rows[i].deadline);
            row = end == NULL ? NULL : PyTuple_Pack(3, rows[i].key, rows[i].value, end);
            Py_XDECREF(end);
            if (row != NULL) {
                PyList_SET_ITEM(list, i, row);
            }
        }
        Py_DECREF(rows[i].key);
        Py_DECREF(rows[i].value);
        if (list != NULL && row == NULL) {
            Py_CLEAR(list);
        }
    }
    PyMem_Free(rows);
    return list;
}

static PyObject *
snapshot_close(snapshot_t *snapshot, PyObject *Py_UNUSED(ignored))
{
    snapshot_end(snapshot);
    Py_RETURN_NONE;
}

/* -- counters, and the near cache's trust ---------------------------------------------------- */

/* Return hits, misses, evictions, expirations and size of one moment. */
static PyObject *
store_counters(store_t *self, PyObject *Py_UNUSED(ignored))
{
    uint64_t counted[4];
    unsigned int size;
    LOCK(self)
    memcpy(counted, self->counted, sizeof(counted));
    size = self->in.size;
    UNLOCK()
    return Py_BuildValue("KKKKI", counted[0], counted[1], counted[2], counted[3], size);
}

static PyObject *
store_set_counters(store_t *self, PyObject *args)
{
    unsigned long long counted[4];
    if (!PyArg_ParseTuple(args, "KKKK", &counted[0], &counted[1], &counted[2], &counted[3])) {
        return NULL;
    }
    LOCK(self)
    for (int i = 0; i < 4; i++) {
        self->counted[i] = counted[i];
    }
    UNLOCK()
    Py_RETURN_NONE;
}

/* Return the time by the clock of the deadlines. */
static PyObject *
store_now(store_t *self, PyObject *Py_UNUSED(ignored))
{
    moment_t moment;
    return moment_begin(self, &moment) < 0 ? NULL : PyFloat_FromDouble(moment_now(&moment));
}

/* -- the invariants as code ------------------------------------------------------------------ */

/* What does not hold is noted, the first of it. */
#define CHECK(condition)                                                                          \
    if (!(condition) && !broken) {                                                                \
        broken = #condition;                                                                      \
    }

/* Raise AssertionError where something does not fit; for tests. */
static PyObject *
store_check(store_t *self, PyObject *Py_UNUSED(ignored))
{
    const char *broken = NULL;
    LOCK(self)
    const content_t *in = &self->in;
    CHECK(in->size <= self->max_size);
    CHECK(in->top >= 1 && in->top <= in->chunk_count << CHUNK_BITS);
    CHECK((in->buckets & (in->buckets - 1)) == 0 && in->buckets == 1u << (in->shift - 1));
    CHECK(in->split < in->buckets && in->head_room >= in->buckets * (in->split ? 2 : 1));
    CHECK(in->top <= 2 * in->buckets);

    uint32_t counted = 0, slots = 0;
    place_t before = 0;
    uint64_t last_use = 0;
    for (place_t place = node_at(in, 0)->next; place && !broken; place = node_at(in, place)->next) {
        node_t *node = node_at(in, place);
        CHECK(node->prev == before);
        CHECK(node->key != NULL && node->value != NULL && PyUnicode_CheckExact(node->key));
        CHECK(node->use > last_use && node->use <= in->uses);
        CHECK(!broken && find(in, node->key, hash_of(node->key)) == place);
        CHECK(node->slot || node->deadline == INFINITY);
        if (node->slot && !broken) {
            CHECK(node->slot <= in->heap_size);
            CHECK(!broken && (in->places[node->slot - 1] & ~OUTDATED) == place);
            CHECK(!broken && in->times[node->slot - 1] <= node->deadline);
            slots++;
        }
        last_use = node->use;
        before = place;
        counted++;
        CHECK(counted <= in->size);
    }
    CHECK(node_at(in, 0)->prev == before);
    CHECK(counted == in->size);

    CHECK(slots == in->heap_size);
    uint32_t outdated = 0;
    for (uint32_t slot = 0; slot < in->heap_size && !broken; slot++) {
        CHECK(slot == 0 || in->times[(slot - 1) / 4] <= in->times[slot]);
        int is = in->times[slot] != node_at(in, in->places[slot] & ~OUTDATED)->deadline;
        CHECK(is == ((in->places[slot] & OUTDATED) != 0));
        outdated += is;
    }
    CHECK(outdated == in->outdated && outdated <= MOST_OUTDATED);

    uint32_t linked = 0, buckets = in->buckets + in->split;
    for (uint32_t bucket = 0; bucket < buckets && !broken; bucket++) {
        int shift = bucket < in->split || bucket >= in->buckets ? in->shift + 1 : in->shift;
        uint32_t places = ~(UINT32_MAX << shift);
        for (uint32_t link = in->heads[bucket]; link && !broken;
             link = node_at(in, link & places)->link) {
            linked++;
            CHECK(linked <= in->size);
        }
    }
    CHECK(linked == in->size);

    uint32_t free = 0;
    for (place_t place = in->free; place && !broken; place = node_at(in, place)->next) {
        CHECK(place < in->top && node_at(in, place)->key == NULL);
        free++;
        CHECK(free + in->size < in->top);
    }
    CHECK(free + in->size + 1 == in->top);
    for (uint32_t chunk = 0; chunk < in->chunk_count && !broken; chunk++) {
        uint32_t collectable = 0;
        for (place_t place = chunk << CHUNK_BITS;
             place < in->top && place < (chunk + 1) << CHUNK_BITS; place++) {
            node_t *node = node_at(in, place);
            collectable += place && node->value != NULL && is_collectable(node->value);
        }
        CHECK(collectable == in->chunks[chunk]->collectable);
    }
    UNLOCK()
    if (broken) {
        PyErr_Format(PyExc_AssertionError, "the store is broken: not %s", broken);
        return NULL;
    }
    Py_RETURN_NONE;
}

/* Return how many there are of each thing that the store has memory for; for tests. */
static PyObject *
store_sizes(store_t *self, PyObject *Py_UNUSED(ignored))
{
    unsigned int snapshots = 0, walks = 0;
    Py_ssize_t aside = 0, watched = 0;
    content_t in;
    LOCK(self)
    in = self->in;
    for (snapshot_t *each = in.snapshots; each != NULL; each = each->next) {
        snapshots++;
        aside += (Py_ssize_t)each->aside_size;
    }
    for (walk_t *each = in.walks; each != NULL; each = each->next) {
        walks++;
    }
    watched = self->watched == NULL ? 0 : PyDict_Size(self->watched);
    UNLOCK()
    return Py_BuildValue("{sIsIsIsIsIsIsnsIsn}", "entries", in.size, "nodes", in.top - 1,
                         "free", in.top - 1 - in.size, "heap", in.heap_size,
                         "buckets", in.buckets + in.split, "snapshots", snapshots,
                         "aside", aside, "walks", walks, "watched", watched);
}

/* -- types ----------------------------------------------------------------------------------- */

static PyObject *
store_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    PyObject *module = PyType_GetModuleByDef(type, &store_module);
    if (module == NULL) {
        return NULL;
    }
    content_t content;
    if (content_init(&content) < 0) {
        return NULL;
    }
    store_t *self = (store_t *)type->tp_alloc(type, 0);
    if (self == NULL) {
        content_free(&content);
        return NULL;
    }
    self->module = Py_NewRef(module);
    self->state = PyModule_GetState(module);
    self->in = content;
    self->max_size = 1000;
    self->default_life = INFINITY;
    self->trusted = INFINITY;
    return (PyObject *)self;
}

static int
store_init(store_t *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"max_size", "default_life", "lock", NULL};
    PyObject *max_size, *lock; /* the lock is for the twin: a step here needs none */
    double life = INFINITY;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|dO:Store", names, &max_size, &life, &lock)) {
        return -1;
    }
    int overflow;
    long long size = PyLong_AsLongLongAndOverflow(max_size, &overflow);
    if (size == -1 && PyErr_Occurred()) {
        return -1;
    }
    if (size < 1 && overflow <= 0) {
        PyErr_Format(PyExc_ValueError, "max_size must be at least 1, not %S", max_size);
        return -1;
    }
    if (check_life(life) < 0) {
        return -1;
    }
    self->max_size = overflow || size > (long long)MOST_PLACES / 2 ? MOST_PLACES / 2
                                                                   : (uint32_t)size;
    self->default_life = life;
    return 0;
}

static int
content_traverse(const content_t *in, visitproc visit, void *arg)
{
    for (uint32_t chunk = 0; chunk < in->chunk_count; chunk++) {
        if (!in->chunks[chunk]->collectable) {
            continue; /* what the collector never tracks it need not be shown */
        }
        for (place_t place = chunk << CHUNK_BITS;
             place < in->top && place < (chunk + 1) << CHUNK_BITS; place++) {
            if (place && node_at(in, place)->key != NULL) {
                Py_VISIT(node_at(in, place)->value);
            }
        }
    }
    return 0;
}

static int
store_traverse(store_t *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->module);
    Py_VISIT(self->watched);
    int stop = content_traverse(&self->in, visit, arg);
    return stop ? stop : content_traverse(&self->rest, visit, arg);
}

/* Let go of all entries at once: the collector has found nothing else that holds the store. A
 * finalizer that calls the store all the same finds it empty. */
static int
store_tp_clear(store_t *self)
{
    content_t empty, former = self->in, rest = self->rest;
    Py_CLEAR(self->watched);
    if (self->in.size == 0 && rest.chunk_count == 0) {
        return 0;
    }
    if (content_init(&empty) < 0) { /* then they go with the store */
        PyErr_Clear();
        return 0;
    }
    walks_end(&self->in);
    empty.snapshots = former.snapshots; /* they end with the store, in the same collection */
    for (snapshot_t *each = empty.snapshots; each; each = each->next) {
        each->cursor = 0;
    }
    self->in = empty;
    memset(&self->rest, 0, sizeof(rest));
    self->generation++;
    content_drop(&former);
    content_drop(&rest);
    return 0;
}

static void
store_dealloc(store_t *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    Py_TRASHCAN_BEGIN(self, store_dealloc) /* a store may hold a store that holds a store ... */
    if (self->weakrefs != NULL) {
        PyObject_ClearWeakRefs((PyObject *)self);
    }
    /* Snapshots and walks hold a reference, so there is none. */
    Py_CLEAR(self->watched);
    content_drop(&self->in);
    content_drop(&self->rest);
    PyObject *module = self->module;
    type->tp_free(self);
    Py_DECREF(type);
    Py_XDECREF(module);
    Py_TRASHCAN_END
}

static int
walk_traverse(walk_t *walk, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(walk));
    Py_VISIT(walk->owner);
    return 0;
}

static void
walk_dealloc(walk_t *walk)
{
    PyTypeObject *type = Py_TYPE(walk);
    PyObject_GC_UnTrack(walk);
    walk_end(walk);
    Py_CLEAR(walk->owner);
    PyObject_GC_Del(walk);
    Py_DECREF(type);
}

static int
snapshot_traverse(snapshot_t *snapshot, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(snapshot));
    Py_VISIT(snapshot->owner);
    for (size_t i = 0; i < snapshot->aside_size; i++) {
        Py_VISIT(snapshot->aside[i].value);
    }
    return 0;
}

static int
snapshot_tp_clear(snapshot_t *snapshot)
{
    snapshot_end(snapshot);
    return 0;
}

static void
snapshot_dealloc(snapshot_t *snapshot)
{
    PyTypeObject *type = Py_TYPE(snapshot);
    PyObject_GC_UnTrack(snapshot);
    snapshot_end(snapshot);
    PyObject_GC_Del(snapshot);
    Py_DECREF(type);
}

#define FAST(name, function, doc)                                                                 \
    {name, (PyCFunction)(void (*)(void))function, METH_FASTCALL | METH_KEYWORDS, PyDoc_STR(doc)}
#define PLAIN(name, function, flags, doc)                                                         \
    {name, (PyCFunction)(void (*)(void))function, flags, PyDoc_STR(doc)}

static PyMethodDef store_methods[] = {
    FAST("get", store_get,
         "get($self, /, key, default=None)\n--\n\n"
         "Return the value at `key`, or `default` where there is no live entry.\n\n"
         "A hit makes the key most recently used. An expired entry is removed, and is a miss."),
    FAST("set", store_set,
         "set($self, /, key, value, ttl=None)\n--\n\n"
         "Store `value` at `key` for `ttl` seconds, in place of whatever was there.\n\n"
         "`ttl=None` means the cache's `default_ttl`; `math.inf` never expires. Makes the key most\n"
         "recently used. A new key in a full cache makes room: expired entries go first, then the\n"
         "least recently used one."),
    FAST("add", store_add,
         "add($self, /, key, value, ttl=None)\n--\n\n"
         "Store `value` where there is no live entry at `key`, and tell whether it did.\n\n"
         "`ttl` as in `set`. Follows memcached's add; Redis calls it SET NX."),
    FAST("replace", store_replace,
         "replace($self, /, key, value, ttl=None)\n--\n\n"
         "Store `value` where there is a live entry at `key`, and tell whether it did.\n\n"
         "`ttl` as in `set`: the former deadline goes. Redis calls it SET XX."),
    FAST("get_or_set", store_get_or_set,
         "get_or_set($self, /, key, factory, ttl=None, **options)\n--\n\n"
         "Return the value at `key`, calling `factory()` for it where there is no live entry.\n\n"
         "However many threads ask at once, one factory runs and the others wait for its value, or\n"
         "its exception. It runs without any lock. The value is stored for `ttl` seconds, from when\n"
         "the factory returned, unless the key was written or removed meanwhile; it is returned all\n"
         "the same. Raises RuntimeError in a factory that needs its own key, directly or through\n"
         "another one that waits for it. Counts a hit, or a miss where it called or waited."),
    FAST("pop", store_pop,
         "pop($self, /, key, default=None)\n--\n\n"
         "Remove the entry at `key` and return its value, or `default` where none is live.\n\n"
         "Counts as a read."),
    FAST("increment", store_increment,
         "increment($self, /, key, amount=1, *, create=True, ttl=None)\n--\n\n"
         "Add `amount` to the number at `key` in one step and return the sum.\n\n"
         "A missing or expired key becomes `amount`, with `ttl` or else `default_ttl`, or is a\n"
         "KeyError with `create=False`; a live one keeps its deadline. Makes the key most recently\n"
         "used. Raises ValueError, changing nothing, when the value is no int or float. Follows\n"
         "Redis INCRBY, but unbounded."),
    FAST("decrement", store_decrement,
         "decrement($self, /, key, amount=1, *, create=True, ttl=None)\n--\n\n"
         "Subtract `amount` from the number at `key`: `increment(key, -amount)`."),
    FAST("touch", store_touch,
         "touch($self, /, key, ttl=None)\n--\n\n"
         "Give the live entry at `key` a new deadline, and tell whether there was one.\n\n"
         "`ttl` as in `set`. Makes the key most recently used and counts no read."),
    FAST("set_many", store_set_many,
         "set_many($self, /, mapping, ttl=None)\n--\n\n"
         "Store every value of `mapping` at its key, in its order, as one step.\n\n"
         "`ttl` as in `set`. No `get_many`, `save` or `delete_pattern` sees a part of it."),
    FAST("peek", store_peek,
         "peek($self, /, key, default=None)\n--\n\n"
         "Return the value at `key`, or `default`, without counting a read or changing recency."),
    PLAIN("_read", store_read, METH_FASTCALL,
          "_read(key, default): get what is there and trusted; else `default`, uncounted."),
    PLAIN("_read_many", store_read_many, METH_O,
          "Get the values at all of a list of keys, or None where one is missing or not trusted."),
    PLAIN("_trust", store_trust, METH_O, "Let `_read` answer up to a moment of the clock."),
    PLAIN("get_many", store_get_many, METH_O,
          "get_many($self, keys, /)\n--\n\n"
          "Return the live ones of `keys` with their values, as they stood at one moment.\n\n"
          "Each key counts as a read, and a hit as a use, in the order given."),
    PLAIN("exists", store_exists, METH_O,
          "exists($self, key, /)\n--\n\n"
          "Tell whether there is a live entry at `key`, even one that holds None.\n\n"
          "Counts no read and is no use of the key. An expired entry is removed."),
    PLAIN("ttl", store_ttl, METH_O,
          "ttl($self, key, /)\n--\n\n"
          "Return the seconds that `key` has left, `math.inf` for ever, None where it isn't live.\n\n"
          "Counts no read and is no use of the key."),
    PLAIN("delete", store_delete, METH_O,
          "delete($self, key, /)\n--\n\n"
          "Remove the entry at `key` and tell whether there was a live one."),
    PLAIN("delete_many", store_delete_many, METH_O,
          "delete_many($self, keys, /)\n--\n\n"
          "Remove the entries at `keys` in one step and return how many live ones went."),
    PLAIN("_put", store_put, METH_FASTCALL,
          "_put(key, value, life): store the value, and return a list of what has to be let go of."),
    PLAIN("_take", store_take, METH_O,
          "Remove the entries at `keys` in one step, and return a list of what has to be let go of."),
    PLAIN("_watch", store_watch, METH_O, "Note from now on whether `key` is changed."),
    PLAIN("_unwatch", store_unwatch, METH_O, "End a watch; tell whether the key is unchanged."),
    PLAIN("_land", store_land, METH_FASTCALL,
          "_land(key, value, life): end a watch, and store the value if the key is unchanged."),
    PLAIN("_watched", store_watched, METH_NOARGS, "Return a list of the keys that are watched."),
    PLAIN("_forget", store_forget, METH_O, "Take those of a list of watched keys for changed."),
    PLAIN("_sweep", store_sweep, METH_NOARGS,
          "Remove some of the expired entries; return how many, 0 where there is none."),
    PLAIN("_release", store_release, METH_NOARGS,
          "Let go of some of the entries, counted as nothing; return 0 at the end."),
    PLAIN("_swap", store_swap, METH_FASTCALL,
          "_swap(other, counters): exchange the content, and perhaps the counters, in one step."),
    PLAIN("_reserve", store_reserve, METH_O, "Prepare an empty store for so many entries."),
    PLAIN("_fill", store_fill, METH_VARARGS,
          "_fill(keys, values, ends, offset, now): store what is live, counted as nothing."),
    PLAIN("_walk", store_walk, METH_O,
          "Begin a walk over the keys; with True it can delete what nobody has written since."),
    PLAIN("_snapshot", store_snapshot, METH_NOARGS,
          "Return a snapshot, its moment, how many rows it has, and four counters."),
    PLAIN("_counters", store_counters, METH_NOARGS,
          "Return hits, misses, evictions, expirations and size of one moment."),
    PLAIN("_set_counters", store_set_counters, METH_VARARGS, "Set the four counters."),
    PLAIN("_now", store_now, METH_NOARGS, "Return the time by the clock of the deadlines."),
    PLAIN("_check", store_check, METH_NOARGS, "Raise AssertionError if an invariant is broken."),
    PLAIN("_sizes", store_sizes, METH_NOARGS,
          "Return how many there are of each thing that the store has memory for, by its name."),
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, NULL},
    {NULL, NULL, 0, NULL},
};

#if PY_VERSION_HEX < 0x030C0000
#include <structmember.h>
#define Py_T_PYSSIZET T_PYSSIZET
#define Py_T_DOUBLE T_DOUBLE
#define Py_READONLY READONLY
#endif

static PyMemberDef store_members[] = {
    {"__weaklistoffset__", Py_T_PYSSIZET, offsetof(store_t, weakrefs), Py_READONLY, NULL},
    {"_default_life", Py_T_DOUBLE, offsetof(store_t, default_life), Py_READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot store_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("A bounded LRU map with deadlines and exact counters.")},
    {Py_tp_new, store_new},
    {Py_tp_init, store_init},
    {Py_tp_dealloc, store_dealloc},
    {Py_tp_traverse, store_traverse},
    {Py_tp_clear, store_tp_clear},
    {Py_tp_methods, store_methods},
    {Py_tp_members, store_members},
    {Py_mp_length, store_length},
    {Py_mp_subscript, store_subscript},
    {Py_mp_ass_subscript, store_ass_subscript},
    {Py_sq_contains, store_contains},
    {0, NULL},
};

static PyType_Spec store_spec = {
    .name = "cache.memory._store.Store",
    .basicsize = sizeof(store_t),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = store_slots,
};

static PyMethodDef walk_methods[] = {
    PLAIN("slice", walk_slice, METH_NOARGS,
          "Return some further keys, [] at the end, None where the content was replaced."),
    PLAIN("delete", walk_delete, METH_O,
          "Remove those of a list of keys that nobody has written since; return how many went."),
    PLAIN("close", walk_close, METH_NOARGS, "End the walk."),
    {NULL, NULL, 0, NULL},
};

static PyType_Slot walk_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("A walk over the keys of a store.")},
    {Py_tp_dealloc, walk_dealloc},
    {Py_tp_traverse, walk_traverse},
    {Py_tp_methods, walk_methods},
    {0, NULL},
};

static PyType_Spec walk_spec = {
    .name = "cache.memory._store.Walk",
    .basicsize = sizeof(walk_t),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = walk_slots,
};

static PyMethodDef snapshot_methods[] = {
    PLAIN("rows", snapshot_rows, METH_O,
          "Return a list of up to so many further rows (key, value, deadline), [] at the end."),
    PLAIN("close", snapshot_close, METH_NOARGS, "End the snapshot."),
    {NULL, NULL, 0, NULL},
};

static PyType_Slot snapshot_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("One moment of a store, read in slices.")},
    {Py_tp_dealloc, snapshot_dealloc},
    {Py_tp_traverse, snapshot_traverse},
    {Py_tp_clear, snapshot_tp_clear},
    {Py_tp_methods, snapshot_methods},
    {0, NULL},
};

static PyType_Spec snapshot_spec = {
    .name = "cache.memory._store.Snapshot",
    .basicsize = sizeof(snapshot_t),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = snapshot_slots,
};

/* -- the module ------------------------------------------------------------------------------ */

/* Call a method by its own descriptor in `type`, too: the interpreter's fast call of a method wants
 * the descriptor's class to be the object's, and a subclass inherits its base's descriptors. */
static PyObject *
specialize(PyObject *module, PyObject *argument)
{
    state_t *state = PyModule_GetState(module);
    if (!PyType_Check(argument)
        || !PyType_IsSubtype((PyTypeObject *)argument, state->store_type)) {
        PyErr_SetString(PyExc_TypeError, "specialize() takes a subclass of Store");
        return NULL;
    }
    PyTypeObject *type = (PyTypeObject *)argument;
    for (PyMethodDef *method = store_methods; method->ml_name != NULL; method++) {
        if (method->ml_flags & METH_CLASS) {
            continue;
        }
        PyObject *inherited = PyObject_GetAttrString((PyObject *)state->store_type, method->ml_name);
        PyObject *found = PyObject_GetAttrString(argument, method->ml_name);
        int same = inherited != NULL && inherited == found;
        Py_XDECREF(inherited);
        Py_XDECREF(found);
        if (inherited == NULL || found == NULL) {
            return NULL;
        }
        if (same) { /* else the subclass has another one */
            PyObject *own = PyDescr_NewMethod(type, method);
            int failed = own == NULL || PyObject_SetAttrString(argument, method->ml_name, own) < 0;
            Py_XDECREF(own);
            if (failed) {
                return NULL;
            }
        }
    }
    return Py_NewRef(argument);
}

/* The module's `monotonic` is the clock. Whoever replaces it, as freezegun does with every module's
 * reference to the real one, is heard here, so that a real clock costs no look-up. */
static int
is_real_clock(PyObject *clock)
{
    return PyCFunction_Check(clock)
           && strcmp(((PyCFunctionObject *)clock)->m_ml->ml_name, "monotonic") == 0;
}

static int
module_setattro(PyObject *module, PyObject *name, PyObject *value)
{
    if (PyObject_GenericSetAttr(module, name, value) < 0) {
        return -1;
    }
    if (PyUnicode_Check(name) && PyUnicode_CompareWithASCIIString(name, "monotonic") == 0) {
        state_t *state = PyModule_GetState(module);
        if (state != NULL) {
            PyObject *former = state->clock;
            state->clock = value == NULL || is_real_clock(value) ? NULL : Py_NewRef(value);
            Py_XDECREF(former);
        }
    }
    return 0;
}

static PyObject *
module_create(PyObject *spec, PyModuleDef *Py_UNUSED(definition))
{
    PyType_Slot slots[] = {
        {Py_tp_base, &PyModule_Type},
        {Py_tp_setattro, module_setattro},
        {0, NULL},
    };
    PyType_Spec type_spec = {
        .name = "cache.memory._store.Module",
        .flags = Py_TPFLAGS_DEFAULT,
        .slots = slots,
    };
    PyObject *type = PyType_FromSpec(&type_spec);
    PyObject *name = type == NULL ? NULL : PyObject_GetAttrString(spec, "name");
    PyObject *module = name == NULL ? NULL : PyObject_CallOneArg(type, name);
    Py_XDECREF(name);
    Py_XDECREF(type);
    return module;
}

static int
module_exec(PyObject *module)
{
    state_t *state = PyModule_GetState(module);
    PyObject *time = PyImport_ImportModule("time");
    PyObject *validate = PyImport_ImportModule("cache.arguments");
    if (time == NULL || validate == NULL) {
        Py_XDECREF(time);
        Py_XDECREF(validate);
        return -1;
    }
    PyObject *clock = PyObject_GetAttrString(time, "monotonic");
    state->plain_key = PyObject_GetAttrString(validate, "plain_key");
    state->plain_keys = PyObject_GetAttrString(validate, "plain_keys");
    state->pairs = PyObject_GetAttrString(validate, "pairs");
    state->seconds = PyObject_GetAttrString(validate, "seconds");
    state->amount = PyObject_GetAttrString(validate, "amount");
    state->number = PyObject_GetAttrString(validate, "number");
    state->miss_name = PyUnicode_InternFromString("_get_or_set_missing");
    Py_DECREF(time);
    Py_DECREF(validate);
    if (clock == NULL || PyErr_Occurred()) {
        Py_XDECREF(clock);
        return -1;
    }
    if (!is_real_clock(clock)) {
        state->clock = Py_NewRef(clock); /* replaced before this module was imported */
    }
    int failed = PyModule_AddObjectRef(module, "monotonic", clock);
    Py_DECREF(clock);
    if (failed) {
        return -1;
    }
    state->store_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &store_spec, NULL);
    state->walk_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &walk_spec, NULL);
    state->snapshot_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &snapshot_spec, NULL);
    if (state->store_type == NULL || state->walk_type == NULL || state->snapshot_type == NULL) {
        return -1;
    }
    if (PyModule_AddStringConstant(module, "KIND", "c") < 0) {
        return -1;
    }
    return PyModule_AddType(module, state->store_type);
}

static int
module_traverse(PyObject *module, visitproc visit, void *arg)
{
    state_t *state = PyModule_GetState(module);
    Py_VISIT(state->clock);
    Py_VISIT(state->plain_key);
    Py_VISIT(state->plain_keys);
    Py_VISIT(state->pairs);
    Py_VISIT(state->seconds);
    Py_VISIT(state->amount);
    Py_VISIT(state->number);
    Py_VISIT(state->store_type);
    Py_VISIT(state->walk_type);
    Py_VISIT(state->snapshot_type);
    return 0;
}

static int
module_clear(PyObject *module)
{
    state_t *state = PyModule_GetState(module);
    /* The rest is no part of a cycle, and finalizers may still call a store. */
    Py_CLEAR(state->clock);
    Py_CLEAR(state->store_type);
    Py_CLEAR(state->walk_type);
    Py_CLEAR(state->snapshot_type);
    return 0;
}

static void
module_free(void *module)
{
    state_t *state = PyModule_GetState(module);
    module_clear(module);
    Py_CLEAR(state->plain_key);
    Py_CLEAR(state->plain_keys);
    Py_CLEAR(state->pairs);
    Py_CLEAR(state->seconds);
    Py_CLEAR(state->amount);
    Py_CLEAR(state->number);
    Py_CLEAR(state->miss_name);
}

static PyMethodDef module_methods[] = {
    {"specialize", specialize, METH_O,
     PyDoc_STR("Give a subclass of Store method descriptors of its own, which are called faster.")},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_create, module_create},
    {Py_mod_exec, module_exec},
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
#if PY_VERSION_HEX >= 0x030D0000
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef store_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_store",
    .m_doc = PyDoc_STR("The compiled store; see docs/store.md."),
    .m_size = sizeof(state_t),
    .m_methods = module_methods,
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC
PyInit__store(void)
{
    return PyModuleDef_Init(&store_module);
}
