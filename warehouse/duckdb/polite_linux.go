package duckdb

/*
#include <pthread.h>
#include <stdint.h>
#include <sys/resource.h>

void tidegate_start(uintptr_t);

enum { polite = 10 }; // by how much the engine's threads are nicer than the program

static void *tidegate_polite_thread(void *start) {
	// Of this thread alone. If it fails, the engine's threads are as good as the others.
	setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + polite);
	tidegate_start((uintptr_t)start);
	return 0;
}

static int tidegate_politely(uintptr_t start) {
	pthread_t thread;
	int err = pthread_create(&thread, 0, tidegate_polite_thread, (void *)start);
	return err ? err : pthread_join(thread, 0);
}
*/
import "C"

import "runtime/cgo"

// politely calls start on a thread of low priority and returns when it has. The threads
// that start makes inherit that: the engine's workers then take what the program leaves
// of the processors, all of them when it is idle, and a large comparison or load does not
// halve what the collection endpoint takes meanwhile. What a statement does on its
// caller's thread keeps its priority, so that it comes to an end however busy the others are.
//
// The thread is none of the Go runtime's: a priority that was given up is not to be had
// back, and a thread of the runtime's that ends takes child processes with it that it
// started to die with their parent.
func politely(start func()) {
	handle := cgo.NewHandle(start)
	defer handle.Delete()
	if C.tidegate_politely(C.uintptr_t(handle)) != 0 {
		start() // no thread to be had; then as everybody else
	}
}
