// SPDX-License-Identifier: Apache-2.0
#include "verify/router.h"

#include <math.h>

#include "base/num.h"
#include "base/reduce.h"

bool router_check(const arch *a, err *e)
{
    if (a->top_k < 1 || a->top_k > a->n_experts || a->n_experts > INT32_MAX)
        return err_set(e, ERR_INPUT, "the router chooses %lld of %lld experts",
                       (long long)a->top_k, (long long)a->n_experts);
    if (a->n_group <= 1)
        return true;
    if (a->n_experts % a->n_group != 0)
        return err_set(e, ERR_INPUT, "%lld experts do not divide into %lld groups",
                       (long long)a->n_experts, (long long)a->n_group);
    if (a->topk_group < 1 || a->topk_group > a->n_group ||
        a->topk_group * (a->n_experts / a->n_group) < a->top_k)
        return err_set(e, ERR_INPUT,
                       "%lld of %lld groups of %lld experts do not hold the %lld of a token",
                       (long long)a->topk_group, (long long)a->n_group,
                       (long long)(a->n_experts / a->n_group), (long long)a->top_k);
    return true;
}

static float group_score(const arch *a, const float *choice, int64_t n)
{
    float best = -INFINITY, second = -INFINITY;
    for (int64_t i = 0; i < n; i++) {
        if (choice[i] > best) {
            second = best;
            best = choice[i];
        } else if (choice[i] > second) {
            second = choice[i];
        }
    }
    return a->group_score == GROUP_MAX || n == 1 ? best : best + second;
}

// Experts of groups that are not among the best topk_group get -inf.
static void drop_groups(const arch *a, float *choice, float *groups)
{
    int64_t size = a->n_experts / a->n_group;
    for (int64_t g = 0; g < a->n_group; g++)
        groups[g] = group_score(a, choice + g * size, size);
    for (int64_t kept = 0; kept < a->topk_group; kept++)
        groups[reduce_argmax(groups, a->n_group)] = -INFINITY;
    for (int64_t g = 0; g < a->n_group; g++)
        for (int64_t i = 0; groups[g] != -INFINITY && i < size; i++)
            choice[g * size + i] = -INFINITY;
}

static void insert_ascending(int32_t *chosen, int64_t n, int32_t expert)
{
    int64_t at = n;
    for (; at > 0 && chosen[at - 1] > expert; at--)
        chosen[at] = chosen[at - 1];
    chosen[at] = expert;
}

static void set_weights(const arch *a, const float *scores, const int32_t *chosen, float *share)
{
    for (int64_t k = 0; k < a->top_k; k++)
        share[k] = scores[chosen[k]];
    double by = a->renorm ? reduce_sum(share, a->top_k) + a->renorm_eps : 1.0;
    for (int64_t k = 0; k < a->top_k; k++)
        share[k] = (float)((double)share[k] / by * a->route_scale);
}

void router_choose(const router *r, float *scores, float *choice, int32_t *chosen, float *share,
                   float *margin)
{
    const arch *a = r->arch;
    if (a->score == SCORE_SOFTMAX)
        reduce_softmax(scores, a->n_experts);
    for (int64_t i = 0; i < a->n_experts; i++) {
        if (a->score == SCORE_SIGMOID)
            scores[i] = num_sigmoidf(scores[i]);
        choice[i] = r->select_bias ? scores[i] + r->select_bias[i] : scores[i];
    }
    if (a->n_group > 1)
        drop_groups(a, choice, choice + a->n_experts);
    float last = 0.0f;
    for (int64_t k = 0; k < a->top_k; k++) {
        int64_t best = reduce_argmax(choice, a->n_experts);
        last = choice[best];
        choice[best] = -INFINITY;
        insert_ascending(chosen, k, (int32_t)best);
    }
    *margin = last - choice[reduce_argmax(choice, a->n_experts)];
    set_weights(a, scores, chosen, share);
}
