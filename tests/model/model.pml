/* SPDX-License-Identifier: GPL-2.0 */

/*
 * The protocol of rust_fsdax: see Documentation/testing.rst. A world defines NI, NS, NF and NP
 * (files, entries, folios, actors with the initial process), the actors that it has, and includes
 * this.
 */

#include "state.pml"
#include "folio.pml"
#include "fsdax.pml"
#include "actors.pml"
