/* Exchange of sums between threads that train on shards of one batch.
 *
 * A thread that waits sleeps, so that it does not take the processor from a thread that it waits
 * for, or from other programs. */

#include <pthread.h>

typedef struct {
    pthread_mutex_t lock;
    pthread_cond_t complete;
    int shards, arrived, aborted;
    long round;      /* of exchanges, which all shards make in the same order */
    long capacity;   /* values per shard */
    double *values;  /* (2, shards, capacity): odd and even rounds alternate, so that a shard can
                        start the next round while others still read this one */
} shard_group;

shard_group *shard_group_create(int shards, long capacity) {
    shard_group *group = calloc(1, sizeof(shard_group));
    double *values = calloc(2 * shards * capacity, sizeof(double));
    if (!group || !values) return free(group), free(values), NULL;
    pthread_mutex_init(&group->lock, NULL);
    pthread_cond_init(&group->complete, NULL);
    group->shards = shards, group->capacity = capacity, group->values = values;
    return group;
}

void shard_group_free(shard_group *group) {
    pthread_mutex_destroy(&group->lock);
    pthread_cond_destroy(&group->complete);
    free(group->values), free(group);
}

/* Ends every present and future wait, since a shard has failed. */
void shard_group_abort(shard_group *group) {
    pthread_mutex_lock(&group->lock);
    group->aborted = 1;
    pthread_cond_broadcast(&group->complete);
    pthread_mutex_unlock(&group->lock);
}

/* Returns the `n` values of every shard, (shards, capacity), valid until the shard's next exchange;
 * null if the group was aborted. */
static const double *exchange(shard_group *group, int shard, const double *values, long n) {
    pthread_mutex_lock(&group->lock);
    const long round = group->round;
    double *slots = group->values + (round & 1) * group->shards * group->capacity;
    memcpy(slots + shard * group->capacity, values, n * sizeof(double));
    if (++group->arrived == group->shards) {
        group->arrived = 0, group->round++;
        pthread_cond_broadcast(&group->complete);
    }
    while (group->round == round && !group->aborted)
        pthread_cond_wait(&group->complete, &group->lock);
    const int aborted = group->aborted;
    pthread_mutex_unlock(&group->lock);
    return aborted ? NULL : slots;
}
