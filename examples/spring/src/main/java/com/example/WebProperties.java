package com.example;

import org.springframework.boot.context.properties.ConfigurationProperties;

/** With a setter, not a record: what is bound by a constructor is never bound anew. */
@ConfigurationProperties("web")
public class WebProperties {

  private volatile String apiKey;

  public String getApiKey() {
    return apiKey;
  }

  public void setApiKey(String apiKey) {
    this.apiKey = apiKey;
  }
}
