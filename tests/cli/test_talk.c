// SPDX-License-Identifier: Apache-2.0
#include <check.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/talk.h"

Suite *suite_talk(void);

START_TEST(draws_units_rate_and_time_left)
{
    char line[128];
    ck_assert_str_eq(talk_progress_line(line, "layer", 12, 61, 12, 4),
                     "layer 12 of 61, 3 a second, 0:16 left");
    ck_assert_str_eq(talk_progress_line(line, "layer", 0, 61, 0, 4), "layer 0 of 61");
    ck_assert_str_eq(talk_progress_line(line, "layer", 1, 61, 1, 0), "layer 1 of 61");
    ck_assert_str_eq(talk_progress_line(line, "bytes", 2000000000, 6000000000, 2000000000, 4),
                     "2.0 GB of 6.0 GB, 500 MB a second, 0:08 left");
    ck_assert_str_eq(talk_progress_line(line, "expert", 1, 100001, 1, 1),
                     "expert 1 of 100001, 1 a second, 27:46:40 left");
    ck_assert_str_eq(talk_progress_line(line, "expert", 60, 61, 50, 10),
                     "expert 60 of 61, 5 a second, 0:00 left");
}
END_TEST

START_TEST(gives_machines_json_lines)
{
    err e = ERR_INIT;
    int pipe_fd[2];
    char text[512];
    ck_assert_int_eq(pipe(pipe_fd), 0);
    talk t = {.command = "test", .quiet = true, .progress_fd = pipe_fd[1]};
    ck_assert_msg(talk_open(&t, &e), "%s", e.text);
    event_progress(&t.sink, "layer", 1, 3);
    event_progress(&t.sink, "layer", 2, 3); // too soon for another line
    event_progress(&t.sink, "layer", 3, 3);
    event_warn(&t.sink, "tensor '%s'", "\"x");
    talk_close(&t);
    ssize_t n = read(pipe_fd[0], text, sizeof text - 1);
    ck_assert_int_gt(n, 0);
    text[n] = 0;
    ck_assert(str_starts(text, "{\"event\":\"progress\",\"what\":\"layer\",\"done\":1,\"total\":3,"
                               "\"seconds\":0.0"));
    ck_assert(!strstr(text, "\"done\":2"));
    ck_assert(strstr(text, "\n{\"event\":\"progress\",\"what\":\"layer\",\"done\":3,"));
    ck_assert(str_ends(text, "\n{\"event\":\"warning\",\"text\":\"tensor '\\\"x'\"}\n"));
    close(pipe_fd[0]);
    close(pipe_fd[1]);
}
END_TEST

START_TEST(refuses_a_descriptor_that_is_not_open)
{
    err e = ERR_INIT;
    talk t = {.command = "test", .progress_fd = 987};
    ck_assert(!talk_open(&t, &e));
    ck_assert_int_eq(e.kind, ERR_USAGE);
    ck_assert_str_eq(e.text, "--progress-fd 987 is no open file descriptor");
}
END_TEST

START_TEST(stops_when_asked_to)
{
    err e = ERR_INIT;
    talk t = {.command = "test"};
    ck_assert(talk_open(&t, &e));
    ck_assert(event_go_on(&t.sink, &e));
    talk_request_stop();
    ck_assert(!event_go_on(&t.sink, &e));
    ck_assert_int_eq(e.kind, ERR_INTERRUPTED);
    talk_close(&t);
}
END_TEST

Suite *suite_talk(void)
{
    Suite *s = suite_create("talk");
    TCase *c = tcase_create("talk");
    tcase_add_test(c, draws_units_rate_and_time_left);
    tcase_add_test(c, gives_machines_json_lines);
    tcase_add_test(c, refuses_a_descriptor_that_is_not_open);
    tcase_add_test(c, stops_when_asked_to);
    suite_add_tcase(s, c);
    return s;
}
