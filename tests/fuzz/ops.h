/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The operations of the fuzzer: name, how often, the kinds of the arguments, on which file systems.
 * scripts/fsdaxlib/fuzzing.py reads this, too, to write programs. The kinds:
 *
 *	s  mapping	f  file		p  page of the file	P  page of the mapping
 *	n  pages	m  pages of a new mapping		o  sector of the page
 *	c  sectors	k  kind of mapping	a  advice	q  pipe
 *	w  process	b  0 or 1	r  protection		v  value: no other line has it
 *
 * Those in capitals are for the coordinator: they take no process.
 */
OP(map, 30, "sfpmk", ANY)
OP(unmap, 4, "sPn", ANY)
OP(remap, 5, "smb", ANY)
OP(protect, 4, "sPnr", ANY)
OP(advise, 10, "sPna", ANY)
OP(load, 40, "sPn", ANY)
OP(store, 60, "sPocv", ANY)
OP(sync, 6, "sPn", ANY)
OP(remove, 4, "sPn", ANY)
OP(write, 15, "fpocv", ANY)
OP(read, 6, "fpn", ANY)
OP(punch, 16, "fpoc", ANY)
OP(zero, 8, "fpoc", ANY)
OP(collapse, 6, "fpn", ANY)
OP(insert, 6, "fpn", ANY)
OP(allocate, 8, "fpn", ANY)
OP(truncate, 12, "fpo", ANY)
OP(unshare, 8, "fpn", XFS)
OP(clone, 20, "fpfpn", XFS)
OP(dedupe, 8, "fpfpn", XFS)
OP(exchange, 10, "fpfpn", XFS)
OP(fsync, 14, "f", ANY)
OP(reopen, 2, "fb", ANY)
OP(child, 3, "sPn", ANY)
OP(vmsplice, 14, "sPnq", ANY)
OP(drain, 8, "q", ANY)
OP(tee, 3, "qq", ANY)
OP(splice_out, 4, "qfp", ANY)
OP(splice_in, 4, "fpnq", ANY)
OP(direct_write, 6, "sPn", ANY)
OP(direct_read, 8, "sPnv", ANY)
OP(uring_read, 6, "sPnv", ANY)
OP(protect_writes, 5, "sPnb", ANY)
OP(scan, 5, "sPnb", ANY)
OP(interrupt, 4, "w", ANY)
OP(look_inside, 2, "", ANY)
OP(freeze, 2, "", ANY)
OP(poison, 1, "sP", ANY)
OP(shut_down, 1, "b", ANY)
OP(unbind, 1, "", ANY)
OP(FORK, 5, "ww", ANY)
OP(REMOUNT, 2, "b", ANY)
OP(TOGETHER, 8, "", ANY)
OP(JOIN, 0, "", ANY)
